//! Requests on their way, and what each carries: whatever becomes of a request, what it carries is not lost with it
//! (P2). A request that panics, is abandoned or frozen in the middle costs that request.

use super::clocks::{Moment, Occasion, Window};
use std::collections::HashMap;
use std::time::Duration;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};

/// How long the end of an invocation waits for a probe that has just begun. Most answers come within it where the
/// function itself took no time.
const GRACE: Duration = Duration::from_millis(2);
/// Clocks that differ by more than this have been stopped in between.
const TEAR: Duration = Duration::from_secs(1);
/// A probe that has not ended after this long was frozen, and its connection is likely dead (BET-34).
const LASTS: Duration = Duration::from_secs(20);

/// How a request ended.
#[derive(Debug)]
pub(crate) enum Landing<A> {
    Answered(A),
    /// Not in the time allowed.
    Late,
    /// Its time ran out while the environment was frozen.
    Cut,
    /// It panicked: this is what is known of it.
    Failed(String),
}

/// Requests that answer `A`, each with what it carries.
#[derive(Debug)]
pub(crate) struct Flights<C, A> {
    tasks: JoinSet<Landing<A>>,
    cargo: HashMap<Id, C>,
    probe: Option<Probe>,
}

/// A request that nobody waits for, beside a function or through a freeze. It is alone.
#[derive(Debug)]
struct Probe {
    begun: Moment,
    was_waited_for: bool,
}

impl<C, A> Default for Flights<C, A> {
    fn default() -> Self {
        Self { tasks: JoinSet::new(), cargo: HashMap::new(), probe: None }
    }
}

impl<C, A: Send + 'static> Flights<C, A> {
    pub(crate) fn start(&mut self, cargo: C, request: impl Future<Output = A> + Send + 'static) {
        let task = self.tasks.spawn(async move { Landing::Answered(request.await) });
        self.cargo.insert(task.id(), cargo);
    }

    /// Starts a request that has until the window's end, and is not waited for.
    pub(crate) fn probe(
        &mut self,
        cargo: C,
        request: impl Future<Output = A> + Send + 'static,
        window: Window,
    ) {
        let (begun, until) = (window.now, window.until);
        let limit = until.saturating_duration_since(begun.instant);
        let task = self.tasks.spawn(async move {
            match timeout_at(until, request).await {
                Ok(answer) => Landing::Answered(answer),
                Err(_) if Moment::now().since(begun) > limit.saturating_add(TEAR) => Landing::Cut,
                Err(_) => Landing::Late,
            }
        });
        self.cargo.insert(task.id(), cargo);
        self.probe = Some(Probe { begun, was_waited_for: false });
    }

    pub(crate) fn len(&self) -> usize {
        self.cargo.len()
    }

    pub(crate) fn is_probing(&self) -> bool {
        self.probe.is_some()
    }

    /// What the requests under way carry.
    pub(crate) fn cargo(&self) -> impl Iterator<Item = &C> {
        self.cargo.values()
    }

    /// The next request to end; `None` when none has until then, or none is under way.
    pub(crate) async fn landed(&mut self, until: Instant) -> Option<(C, Landing<A>)> {
        loop {
            let joined = timeout_at(until, self.tasks.join_next_with_id()).await.ok()??;
            let (id, landing) = match joined {
                Ok(landed) => landed,
                Err(failed) => (failed.id(), Landing::Failed(said(failed))),
            };
            if let Some(cargo) = self.cargo.remove(&id) {
                self.probe = None;
                return Some((cargo, landing));
            }
        }
    }

    /// How the probe has ended, if it has. It is given up where the environment ends, and where it was frozen for so
    /// long that no answer can be expected.
    pub(crate) async fn probed(&mut self, window: Window) -> Option<(C, Landing<A>)> {
        let probe = self.probe.as_mut()?;
        let wait = match window.occasion {
            Occasion::Held if !probe.was_waited_for => GRACE,
            Occasion::Held | Occasion::Beside => Duration::ZERO,
            Occasion::Last => window.until.saturating_duration_since(window.now.instant) / 4,
        };
        probe.was_waited_for |= window.occasion == Occasion::Held;
        let gives_up = window.occasion == Occasion::Last || window.now.since(probe.begun) > LASTS;
        let until = window.now.instant.checked_add(wait).map_or(window.until, |end| end.min(window.until));
        if let Some(landed) = self.landed(until).await {
            return Some(landed);
        }
        if !gives_up {
            return None;
        }
        self.abandon().pop().map(|cargo| (cargo, Landing::Cut))
    }

    /// What the probe carries, if it was frozen for so long that no answer can be expected. It is given up then.
    pub(crate) fn frozen(&mut self, now: Moment) -> Option<C> {
        let is_stale = self.probe.as_ref().is_some_and(|probe| now.since(probe.begun) > LASTS);
        if is_stale { self.abandon().pop() } else { None }
    }

    /// Ends every request, and gives back what they carried.
    pub(crate) fn abandon(&mut self) -> Vec<C> {
        // What it had is ended with it (P4).
        self.tasks = JoinSet::new();
        self.probe = None;
        self.cargo.drain().map(|(_, cargo)| cargo).collect()
    }
}

fn said(failed: JoinError) -> String {
    match failed.try_into_panic() {
        Ok(panic) => super::panics::message(&*panic),
        Err(cancelled) => cancelled.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::time::sleep;

    fn window(occasion: Occasion, ms: u64) -> Window {
        let now = Moment::now();
        Window { now, until: now.instant + Duration::from_millis(ms), occasion }
    }

    #[tokio::test(start_paused = true)]
    async fn p2_a_request_that_panics_gives_back_what_it_carried_and_costs_no_other() {
        let mut flights = Flights::default();
        flights.start("bad", async { panic!("no thread left") });
        flights.start("good", async {
            sleep(Duration::from_millis(5)).await;
            7
        });
        let until = Instant::now() + Duration::from_secs(1);
        let (cargo, landing) = flights.landed(until).await.unwrap();
        assert_eq!(cargo, "bad");
        assert!(matches!(landing, Landing::Failed(said) if said == "no thread left"));
        assert!(matches!(flights.landed(until).await, Some(("good", Landing::Answered(7)))));
        assert!(flights.landed(until).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn p1_a_probe_holds_an_invocation_for_two_milliseconds_once_and_then_never() {
        let mut flights = Flights::default();
        flights.probe("probe", pending::<()>(), window(Occasion::Beside, 1000));
        let mut held = Vec::new();
        for _ in 0..4 {
            let window = window(Occasion::Held, 60_000);
            assert!(flights.probed(window).await.is_none());
            held.push(window.now.instant.elapsed().as_millis());
            sleep(Duration::from_millis(100)).await;
        }
        // The clock of tokio counts whole milliseconds, upwards.
        assert!(held[0] <= 3 && held[1..] == [0, 0, 0], "{held:?}");
        sleep(Duration::from_secs(1)).await;
        let landed = flights.probed(window(Occasion::Held, 60_000)).await;
        assert!(matches!(landed, Some(("probe", Landing::Late))), "{landed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn l_8_7_a_probe_goes_on_through_a_freeze_and_is_given_up_when_that_was_long() {
        let mut flights = Flights::default();
        let answer = async { sleep(Duration::from_millis(300)).await };
        flights.probe("short", answer, window(Occasion::Beside, 1000));
        assert!(flights.probed(window(Occasion::Held, 1000)).await.is_none());
        sleep(Duration::from_millis(500)).await;
        assert!(matches!(
            flights.probed(window(Occasion::Held, 1000)).await,
            Some(("short", Landing::Answered(())))
        ));

        // Only one of the clocks goes on in a freeze.
        let mut begun = window(Occasion::Beside, 1000);
        begun.now.unix = begun.now.unix.saturating_sub(LASTS + TEAR);
        flights.probe("frozen", pending(), begun);
        let landed = flights.probed(window(Occasion::Held, 1000)).await;
        assert!(matches!(landed, Some(("frozen", Landing::Cut))), "{landed:?}");
        assert!(!flights.is_probing() && flights.len() == 0);

        let mut begun = window(Occasion::Beside, 1000);
        begun.now.unix = begun.now.unix.saturating_sub(Duration::from_secs(5));
        flights.probe("thawed", pending(), begun);
        sleep(Duration::from_secs(2)).await;
        assert!(matches!(flights.probed(window(Occasion::Held, 1000)).await, Some(("thawed", Landing::Cut))));
    }

    #[tokio::test(start_paused = true)]
    async fn l_8_9_at_the_end_a_probe_has_a_quarter_of_the_time_and_its_cargo_comes_back() {
        let mut flights = Flights::default();
        flights.probe("probe", pending::<()>(), window(Occasion::Beside, 60_000));
        let last = window(Occasion::Last, 1200);
        let landed = flights.probed(last).await;
        assert!(matches!(landed, Some(("probe", Landing::Cut))), "{landed:?}");
        assert!((300..=301).contains(&last.now.instant.elapsed().as_millis()));
    }
}
