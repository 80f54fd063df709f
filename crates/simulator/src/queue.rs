//! Events in the order of their time; those of one moment in the order in which they were put.

use std::collections::BTreeMap;

use potluck_protocol::Millis;

#[derive(Debug)]
pub(crate) struct Queue<E> {
    events: BTreeMap<(Millis, u64), E>,
    count: u64,
}

impl<E> Queue<E> {
    pub(crate) fn new() -> Self {
        Self { events: BTreeMap::new(), count: 0 }
    }

    pub(crate) fn put(&mut self, at: Millis, event: E) {
        self.count += 1;
        self.events.insert((at, self.count), event);
    }

    pub(crate) fn next(&mut self) -> Option<(Millis, E)> {
        self.events.pop_first().map(|((at, _), event)| (at, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_first_then_the_order_of_putting() {
        let mut queue = Queue::new();
        for (at, event) in [(5, 'c'), (3, 'a'), (5, 'd'), (3, 'b')] {
            queue.put(at, event);
        }
        let order: Vec<char> = std::iter::from_fn(|| queue.next().map(|(_, event)| event)).collect();
        assert_eq!(order, ['a', 'b', 'c', 'd']);
    }
}
