//! Gives every value of a lowered program its place: a slot is free again after the last step that
//! touches what is in it.

use std::collections::BTreeMap;

use super::{
    Dispatch, Place,
    arena::Arena,
    lower::{Lowered, Source, Value},
};

pub(super) struct Layout {
    pub(super) dispatches: Vec<Dispatch>,
    pub(super) slots: Vec<usize>,
    /// Slot, positions, width and base (as bits) of each rotation's table.
    pub(super) rotations: Vec<(usize, [u32; 3])>,
    places: BTreeMap<Value, Place>,
    inputs: BTreeMap<usize, (usize, usize)>,
}

impl Layout {
    /// `pinned` values outlive the step: the host reads them.
    pub(super) fn new(lowered: &Lowered, arena: &Arena, pinned: &[Value]) -> Self {
        let mut layout = Self {
            dispatches: Vec::new(),
            slots: Vec::new(),
            rotations: Vec::new(),
            places: BTreeMap::new(),
            inputs: BTreeMap::new(),
        };
        layout.sources(lowered, arena);
        let last_use = last_uses(lowered, pinned);
        let mut free = Vec::new();
        for (step, lowered_step) in lowered.steps.iter().enumerate() {
            let lens = lowered_step.kernel.output_lens();
            for (&value, len) in lowered_step.writes.iter().zip(lens) {
                if !layout.places.contains_key(&value) {
                    let slot = layout.take(&mut free, len);
                    layout.places.insert(value, Place::Slot(slot));
                }
            }
            let place = |values: &[Value]| values.iter().map(|&value| layout.places[&value]).collect();
            let (reads, writes) = (place(&lowered_step.reads), place(&lowered_step.writes));
            layout.dispatches.push(Dispatch::new(lowered_step.kernel, reads, writes));
            for value in lowered_step.reads.iter().chain(&lowered_step.writes) {
                if let (Some(&last), Some(&Place::Slot(slot))) = (last_use.get(value), layout.places.get(value))
                    && last == step
                    && !free.contains(&slot)
                {
                    free.push(slot);
                }
            }
        }
        layout
    }

    pub(super) fn place(&self, value: Value) -> Place {
        self.places[&value]
    }

    /// Slot and length of a program input; one that nothing reads has a slot all the same.
    pub(super) fn input(&self, input: usize) -> (usize, usize) {
        self.inputs[&input]
    }

    fn sources(&mut self, lowered: &Lowered, arena: &Arena) {
        for (value, source) in &lowered.sources {
            let place = match *source {
                Source::Table { positions, width, base } => {
                    self.slots.push(positions as usize * width as usize);
                    self.rotations.push((self.slots.len() - 1, [positions, width, base]));
                    Place::Slot(self.slots.len() - 1)
                }
                Source::Input { input, len } => {
                    self.slots.push(len);
                    self.inputs.insert(input, (self.slots.len() - 1, len));
                    Place::Slot(self.slots.len() - 1)
                }
                Source::Parameter(parameter) => {
                    let (offset, len) = arena.places[parameter];
                    Place::Parameter { offset, len }
                }
                Source::Gradient(parameter) => {
                    let (offset, len) = arena.places[parameter];
                    Place::Gradient { offset, len }
                }
            };
            self.places.insert(*value, place);
        }
    }

    /// The smallest free slot that is large enough, else a new one.
    fn take(&mut self, free: &mut Vec<usize>, len: usize) -> usize {
        let fitting = free.iter().enumerate().filter(|(_, slot)| self.slots[**slot] >= len);
        if let Some((at, _)) = fitting.min_by_key(|(_, slot)| self.slots[**slot]) {
            return free.swap_remove(at);
        }
        self.slots.push(len);
        self.slots.len() - 1
    }
}

/// The last step that touches each value; none for what the host reads or writes.
fn last_uses(lowered: &Lowered, pinned: &[Value]) -> BTreeMap<Value, usize> {
    let mut last = BTreeMap::new();
    for (step, lowered_step) in lowered.steps.iter().enumerate() {
        for value in lowered_step.reads.iter().chain(&lowered_step.writes) {
            last.insert(*value, step);
        }
    }
    for value in lowered.sources.keys().chain(pinned) {
        last.remove(value);
    }
    last
}
