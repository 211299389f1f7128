//! So many requests a second that are sampled before any rate counts: SMP-8, section 18.3.

/// What X-Ray has granted this client of a rule's reservoir.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quota {
    pub(super) per_second: u64,
    /// Epoch seconds.
    pub(super) until_s: u64,
}

/// How a request got its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Granted,
    /// Without a valid quota, of the one that each client may take a second.
    Borrowed,
}

/// The places of one rule, counted by calendar second (SMP-12).
#[derive(Debug, Clone, Default)]
pub(super) struct Reservoir {
    pub(super) quota: Option<Quota>,
    second: u64,
    taken: u64,
}

impl Reservoir {
    /// Takes a place, where this second has one left. A frozen environment's quota is likely out of date, so that then
    /// one is borrowed again, as X-Ray's own SDKs do (SMP-8).
    pub(super) fn take(&mut self, size: u64, now_s: u64) -> Option<Taken> {
        if self.second != now_s {
            (self.second, self.taken) = (now_s, 0);
        }
        let (limit, how) = match self.quota.filter(|quota| quota.until_s > now_s) {
            Some(quota) => (quota.per_second, Taken::Granted),
            None => (size.min(1), Taken::Borrowed),
        };
        (self.taken < limit).then(|| {
            self.taken += 1;
            how
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_18_3_a_quota_while_it_lasts_and_one_borrowed_before_and_after() {
        let mut reservoir = Reservoir::default();
        let mut take = |quota: Option<Quota>, size, now_s| {
            reservoir.quota = quota.or(reservoir.quota);
            reservoir.take(size, now_s)
        };
        let borrowed = Some(Taken::Borrowed);
        let granted = Some(Taken::Granted);
        assert_eq!([take(None, 10, 1), take(None, 10, 1), take(None, 10, 2)], [borrowed, None, borrowed]);
        assert_eq!(take(None, 0, 3), None, "a rule without a reservoir has nothing to borrow");
        let quota = Some(Quota { per_second: 2, until_s: 6 });
        assert_eq!([take(quota, 10, 4), take(None, 10, 4), take(None, 10, 4)], [granted, granted, None]);
        assert_eq!([take(None, 10, 5), take(None, 10, 6), take(None, 10, 6)], [granted, borrowed, None]);
        assert_eq!(take(Some(Quota { per_second: 0, until_s: 9 }), 10, 7), None);
    }
}
