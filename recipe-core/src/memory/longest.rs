//! How far a plan's memory reaches.

use crate::plan::{Plan, StagePlan};

/// Lengths are tried in steps of this many tokens.
const STEP: usize = 1024;
/// No longer ones are tried.
const MOST: usize = 1 << 16;

impl Plan {
    /// The longest sequences, in whole K tokens, that this plan could train on within its device's memory, or read where it trains
    /// nothing; nothing where there is no limit, 0 where even 1K does not fit.
    pub fn longest(&self) -> Option<usize> {
        let available = self.device.memory();
        (available < u64::MAX).then(|| self.longest_within(available))
    }

    /// The same for any memory.
    pub(crate) fn longest_within(&self, available: u64) -> usize {
        let fits = |steps: usize| self.of_length(steps * STEP).memory().total <= available;
        let (mut most, mut too_many) = (0, MOST);
        while too_many - most > 1 {
            let middle = most + (too_many - most) / 2;
            if fits(middle) { most = middle } else { too_many = middle }
        }
        most * STEP
    }

    /// With its longest sequences at another length.
    #[must_use]
    pub(crate) fn of_length(&self, length: usize) -> Self {
        let longest = self.stages.iter().map(|stage| stage.length).max().unwrap_or(0);
        let at = |stage: &StagePlan| StagePlan {
            length: if stage.length == longest { length } else { stage.length.min(length) },
            ..stage.clone()
        };
        let target = if self.stages.is_empty() { length } else { self.target };
        Self { target, stages: self.stages.iter().map(at).collect(), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use crate::samples::{bare, llama2_128k};
    use crate::terms::Device;

    /// One K more does not fit, and offloading goes farther.
    #[test]
    fn the_longest_is_the_last_that_fits() {
        let mut plan = llama2_128k().plan().unwrap();
        let near = plan.longest().unwrap();
        assert!(near >= 131_072 && near.is_multiple_of(1024), "{near}");
        plan.stages.to_mut()[0].offload = true;
        let far = plan.longest().unwrap();
        assert!(far > 2 * near, "{near}, offloaded {far}");
        for (length, fits) in [(far, true), (far + 1024, false)] {
            assert_eq!(plan.of_length(length).memory().total <= plan.device.memory(), fits);
        }
    }

    #[test]
    fn readers_have_one_and_machines_without_a_limit_none() {
        let plan = bare().plan().unwrap();
        assert_eq!(plan.longest(), None);
        let of = |memory| crate::Plan { device: Device::Cpu { memory }, ..plan.clone() }.longest();
        assert_eq!(of(1 << 30), Some(0));
        assert!(of(32 << 30) > Some(4096));
    }
}
