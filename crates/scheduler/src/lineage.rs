//! Who has led a job: one leader for each start of a coordinator, in lines that begin where the job
//! was made or restored. Knows nothing of keys or folders.

use std::collections::BTreeMap;

use potluck_protocol::{BlobId, LeaderId};
use serde::{Deserialize, Serialize};

/// Where a restored job left the line that it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fork {
    /// Position of the last fact that both have.
    pub seq: u64,
    /// Hash over all facts up to it.
    pub head: BlobId,
}

/// How a leader stands to a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It wrote to this log.
    Ours,
    /// It belongs to a line that this one left by its owner's word.
    Left,
    /// This log does not know it: there is another copy of the job, and it is in use.
    Foreign,
}

/// The leaders of one job.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lineage {
    /// The first leader of each line, the current line last.
    lines: Vec<LeaderId>,
    /// By epoch.
    leaders: BTreeMap<u64, LeaderId>,
    /// Another leader that this job was found to have; it must not be led from this log any more.
    deposed_by: Option<LeaderId>,
}

impl Lineage {
    pub(crate) fn begin(&mut self, epoch: u64, leader: LeaderId, is_fork: bool) {
        if is_fork || self.lines.is_empty() {
            self.lines.push(leader);
            self.deposed_by = None;
        }
        self.leaders.insert(epoch, leader);
    }

    pub(crate) fn depose(&mut self, by: LeaderId) {
        self.deposed_by = Some(by);
    }

    /// The current line, epoch and leader; `None` before the first.
    pub fn newest(&self) -> Option<(LeaderId, u64, LeaderId)> {
        let (epoch, leader) = self.leaders.last_key_value()?;
        Some((*self.lines.last()?, *epoch, *leader))
    }

    /// Who deposed this log's leaders, if somebody did.
    pub fn deposed_by(&self) -> Option<LeaderId> {
        self.deposed_by
    }

    /// How the leader of this epoch and line stands to this log.
    pub fn standing(&self, line: LeaderId, epoch: u64, leader: LeaderId) -> Standing {
        if self.leaders.get(&epoch) == Some(&leader) {
            return Standing::Ours;
        }
        match self.lines.split_last() {
            Some((_, left)) if left.contains(&line) => Standing::Left,
            _ => Standing::Foreign,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> LeaderId {
        LeaderId([n; 16])
    }

    #[test]
    fn the_original_and_its_copy_tell_each_other_apart() {
        let mut original = Lineage::default();
        original.begin(1, id(1), false);
        original.begin(2, id(2), false);
        let (mut copy, mut restored) = (original.clone(), original.clone());
        original.begin(3, id(3), false);
        copy.begin(3, id(4), false);
        restored.begin(3, id(5), true);
        assert_eq!(original.newest(), Some((id(1), 3, id(3))));
        assert_eq!(restored.newest(), Some((id(5), 3, id(5))));
        // Copies of one line, each unknown to the other.
        assert_eq!(original.standing(id(1), 3, id(4)), Standing::Foreign);
        assert_eq!(copy.standing(id(1), 3, id(3)), Standing::Foreign);
        assert_eq!(copy.standing(id(1), 2, id(2)), Standing::Ours);
        // A restored job left its line knowingly; the line that it left learns of it.
        assert_eq!(restored.standing(id(1), 3, id(3)), Standing::Left);
        assert_eq!(original.standing(id(5), 3, id(5)), Standing::Foreign);
    }

    #[test]
    fn a_new_line_is_deposed_no_more() {
        let mut lineage = Lineage::default();
        lineage.begin(1, id(1), false);
        lineage.depose(id(9));
        lineage.begin(2, id(2), false);
        assert_eq!(lineage.deposed_by(), Some(id(9)));
        lineage.begin(3, id(3), true);
        assert_eq!(lineage.deposed_by(), None);
    }
}
