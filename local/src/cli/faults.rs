//! `--fault NAME[:ARGUMENT]`: trouble on request (SIM-21).

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::lambda::Config;
use crate::xray::{Cut, Endpoint, Fault};

/// As many requests or documents as there will be.
const EACH: usize = usize::MAX;

/// Every name, what its argument means, and what happens.
pub(super) const HELP: &str = "\
Faults:
  xray-down                nothing listens at X-Ray's address
  xray-slow[:MS]           X-Ray answers late (2000)
  xray-hang[:N]            X-Ray takes the first N requests and never answers (each)
  xray-429[:N]             X-Ray throttles the first N requests (each)
  xray-503[:N]             X-Ray is unavailable for the first N requests (each)
  xray-reset[:N]           X-Ray's connection is reset in the first N requests (each)
  xray-refuse[:N]          X-Ray returns the first N documents as unprocessed (each)
  frozen-close, frozen-reset, frozen-stall
                           X-Ray's connections are closed, reset or left dead while frozen
  tmp-full                 no room in /tmp (needs the right to mount)
  port-taken[:PORT]        the function or another extension has that port (4318)
  telemetry-duplicated, telemetry-reversed
                           telemetry batches come twice, or backwards
  telemetry-large[:BYTES]  with a record of an unknown type and that size (1000000)
  no-credentials           the function's role gives no credentials
  clock-jump[:SECONDS]     the snapshot of --snap-start is that old when it is restored (86400): credentials and
                           records of before have the time of then";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKnob {
    XrayDown,
    XraySlow(Duration),
    XrayHang(usize),
    XrayStatus(u16, usize),
    XrayReset(usize),
    XrayRefuse(usize),
    Frozen(Cut),
    TemporaryFull,
    PortTaken(u16),
    TelemetryDuplicated,
    TelemetryReversed,
    TelemetryLarge(usize),
    NoCredentials,
    ClockJump(Duration),
}

impl FromStr for FaultKnob {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, argument) = text.split_once(':').map_or((text, None), |(name, rest)| (name, Some(rest)));
        let number = |default: usize| match argument {
            None => Ok(default),
            Some(text) => text.parse::<usize>().map_err(|_| format!("{name}:{text}: write a number")),
        };
        let plain = |knob: Self| match argument {
            None => Ok(knob),
            Some(_) => Err(format!("{name} takes no argument")),
        };
        match name {
            "xray-down" => plain(Self::XrayDown),
            "xray-slow" => Ok(Self::XraySlow(Duration::from_millis(number(2_000)? as u64))),
            "xray-hang" => Ok(Self::XrayHang(number(EACH)?)),
            "xray-429" => Ok(Self::XrayStatus(429, number(EACH)?)),
            "xray-503" => Ok(Self::XrayStatus(503, number(EACH)?)),
            "xray-reset" => Ok(Self::XrayReset(number(EACH)?)),
            "xray-refuse" => Ok(Self::XrayRefuse(number(EACH)?)),
            "frozen-close" => plain(Self::Frozen(Cut::Close)),
            "frozen-reset" => plain(Self::Frozen(Cut::Reset)),
            "frozen-stall" => plain(Self::Frozen(Cut::Stall)),
            "tmp-full" => plain(Self::TemporaryFull),
            "port-taken" => {
                let port = u16::try_from(number(4_318)?).map_err(|_| format!("{text}: no such port"))?;
                Ok(Self::PortTaken(port))
            }
            "telemetry-duplicated" => plain(Self::TelemetryDuplicated),
            "telemetry-reversed" => plain(Self::TelemetryReversed),
            "telemetry-large" => Ok(Self::TelemetryLarge(number(1_000_000)?)),
            "no-credentials" => plain(Self::NoCredentials),
            "clock-jump" => Ok(Self::ClockJump(Duration::from_secs(number(86_400)? as u64))),
            _ => Err(format!("there is no fault {name:?}; see --help")),
        }
    }
}

impl FaultKnob {
    /// The fault of one request, and of how many.
    fn of_requests(self) -> Option<(Fault, usize)> {
        match self {
            Self::XraySlow(delay) => Some((Fault::Delay(delay), EACH)),
            Self::XrayHang(count) => Some((Fault::Hang, count)),
            Self::XrayStatus(429, count) => Some((Fault::Status(429, "ThrottledException"), count)),
            Self::XrayStatus(status, count) => Some((Fault::Status(status, "ServiceUnavailable"), count)),
            Self::XrayReset(count) => Some((Fault::Reset, count)),
            _ => None,
        }
    }
}

/// What must be kept for as long as the faults are to last.
#[derive(Debug, Default)]
pub(super) struct Arranged {
    ports: Vec<TcpListener>,
}

/// Sets the faults up. `endpoint` is the built-in X-Ray, unless the traces go elsewhere; the variable that names it is
/// `endpoint_variable`.
pub(super) fn arrange(
    knobs: &[FaultKnob],
    config: &mut Config,
    endpoint: Option<&Endpoint>,
    endpoint_variable: &str,
) -> std::io::Result<Arranged> {
    let mut arranged = Arranged::default();
    let requests: Vec<(Fault, usize)> = knobs.iter().filter_map(|knob| knob.of_requests()).collect();
    if let Some(endpoint) = endpoint.filter(|_| !requests.is_empty()) {
        endpoint.faults().choose(move |number| fault_of(&requests, number));
    }
    for knob in knobs {
        match *knob {
            FaultKnob::XrayDown => {
                // Free a moment ago: nothing listens there.
                let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
                config.variables.insert(endpoint_variable.to_owned(), format!("http://{address}"));
            }
            FaultKnob::XrayRefuse(count) => {
                if let Some(endpoint) = endpoint {
                    let left = AtomicUsize::new(count);
                    endpoint.faults().refuse_documents(move |_| {
                        let one = left
                            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                        one.is_ok().then(|| ("InternalFailure", "on request".to_owned()))
                    });
                }
            }
            FaultKnob::Frozen(cut) => {
                if let Some(endpoint) = endpoint {
                    let connections = endpoint.connections();
                    config.on_frozen = Some(Arc::new(move || connections.cut(cut)));
                }
            }
            FaultKnob::TemporaryFull => config.temporary_full = true,
            FaultKnob::PortTaken(port) => {
                // Taken by somebody else is as good.
                arranged.ports.extend(TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
            }
            FaultKnob::TelemetryDuplicated => config.telemetry_faults.duplicated = true,
            FaultKnob::TelemetryReversed => config.telemetry_faults.reversed = true,
            FaultKnob::TelemetryLarge(bytes) => config.telemetry_faults.padding_bytes = bytes,
            FaultKnob::NoCredentials => config.credentials = None,
            FaultKnob::ClockJump(age) => config.snapshot_age = age,
            FaultKnob::XraySlow(_)
            | FaultKnob::XrayHang(_)
            | FaultKnob::XrayStatus(..)
            | FaultKnob::XrayReset(_) => {}
        }
    }
    Ok(arranged)
}

/// One fault after the other, each for as many requests as it was asked for.
fn fault_of(faults: &[(Fault, usize)], number: u64) -> Option<Fault> {
    let mut left = usize::try_from(number).unwrap_or(EACH);
    for (fault, count) in faults {
        if left < *count {
            return Some(fault.clone());
        }
        left -= count;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sim_21_names_and_arguments() {
        let cases = [
            ("xray-down", FaultKnob::XrayDown),
            ("xray-slow", FaultKnob::XraySlow(Duration::from_secs(2))),
            ("xray-slow:50", FaultKnob::XraySlow(Duration::from_millis(50))),
            ("xray-429:3", FaultKnob::XrayStatus(429, 3)),
            ("xray-503", FaultKnob::XrayStatus(503, EACH)),
            ("xray-refuse:2", FaultKnob::XrayRefuse(2)),
            ("frozen-stall", FaultKnob::Frozen(Cut::Stall)),
            ("port-taken", FaultKnob::PortTaken(4_318)),
            ("port-taken:2000", FaultKnob::PortTaken(2_000)),
            ("telemetry-large:5", FaultKnob::TelemetryLarge(5)),
            ("clock-jump", FaultKnob::ClockJump(Duration::from_hours(24))),
            ("clock-jump:60", FaultKnob::ClockJump(Duration::from_mins(1))),
        ];
        for (text, knob) in cases {
            assert_eq!(text.parse(), Ok(knob), "{text}");
            assert!(HELP.contains(text.split(':').next().unwrap_or_default()), "{text} is in the help");
        }
        for wrong in ["", "xray", "xray-down:1", "xray-429:x", "port-taken:70000", "tmp-full:1"] {
            assert!(wrong.parse::<FaultKnob>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn faults_of_requests_come_one_after_the_other() {
        let throttled = Fault::Status(429, "ThrottledException");
        let faults = [(throttled.clone(), 2), (Fault::Reset, 1)];
        let met: Vec<_> = (0..4).map(|number| fault_of(&faults, number)).collect();
        assert_eq!(met, [Some(throttled.clone()), Some(throttled), Some(Fault::Reset), None]);
        assert_eq!(fault_of(&[(Fault::Hang, EACH)], u64::MAX - 1), Some(Fault::Hang));
    }
}
