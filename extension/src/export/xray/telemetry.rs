//! `PutTelemetryRecords`: one record of the environment's life, where the user wants it (xray.md section 6, TEL-2).

use crate::accounts::{Accounts, Reason};
use crate::export::answers::trouble::{Troubles, told};
use crate::export::client::Session;
use crate::export::pacing::clocks::Moment;
use aws_sdk_xray::types::{BackendConnectionErrors, TelemetryRecord};
use aws_smithy_types::DateTime;

/// The record, in the daemon's terms: what was sent includes what was then refused. `None` where nothing was received.
fn record(accounts: &Accounts, troubles: Troubles, now: Moment) -> Option<TelemetryRecord> {
    if accounts.received() == 0 {
        return None;
    }
    let count = |number: u64| i32::try_from(number).unwrap_or(i32::MAX);
    let failed = |number: u32| count(number.into());
    let spilled = accounts.dropped(Reason::BufferFull);
    let errors = BackendConnectionErrors::builder()
        .timeout_count(failed(troubles.timeout))
        .connection_refused_count(failed(troubles.connection_refused))
        .unknown_host_count(failed(troubles.unknown_host))
        .http_code4_xx_count(failed(troubles.status_4xx))
        .http_code5_xx_count(failed(troubles.status_5xx))
        .other_count(failed(troubles.other))
        .build();
    let record = TelemetryRecord::builder()
        .timestamp(DateTime::from_secs(i64::try_from(now.unix.as_secs()).unwrap_or(i64::MAX)))
        .segments_received_count(count(accounts.received()))
        .segments_sent_count(count(accounts.sent().saturating_add(accounts.rejected())))
        .segments_spillover_count(count(spilled))
        .segments_rejected_count(count(accounts.lost().saturating_sub(spilled)))
        .backend_connection_errors(errors)
        .build();
    // The one field it must have is there.
    record.ok()
}

/// Sends the record once; it is worth no second try.
pub(crate) async fn send(
    session: &Session,
    accounts: &Accounts,
    troubles: Troubles,
    now: Moment,
) -> Result<(), String> {
    let Some(record) = record(accounts, troubles, now) else { return Ok(()) };
    session.endpoint.clone()?;
    let sent = session.client.put_telemetry_records().telemetry_records(record).send().await;
    sent.map(drop).map_err(|error| told(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::answers::trouble::Trouble;
    use std::time::Duration;

    #[test]
    fn tel_1_section_6_every_field_of_the_record() {
        let now = Moment { unix: Duration::from_secs(1_795_224_538), ..Moment::now() };
        let mut accounts = Accounts::default();
        let mut troubles = Troubles::default();
        assert_eq!(record(&accounts, troubles, now), None, "silent until something arrived");
        accounts.receive(100);
        accounts.send(80);
        accounts.reject("InvalidName", 3);
        accounts.drop(Reason::BufferFull, 5);
        accounts.drop(Reason::Unreadable, 2);
        accounts.drop(Reason::Unsampled, 10);
        for trouble in [Trouble::Timeout, Trouble::ConnectionRefused, Trouble::Status4xx, Trouble::Status5xx]
        {
            troubles.count(trouble);
        }
        let record = record(&accounts, troubles, now).unwrap();
        assert_eq!(record.timestamp().secs(), 1_795_224_538);
        assert_eq!(record.segments_received_count(), Some(100));
        assert_eq!(record.segments_sent_count(), Some(83));
        assert_eq!(record.segments_spillover_count(), Some(5));
        assert_eq!(record.segments_rejected_count(), Some(5));
        let errors = record.backend_connection_errors().unwrap();
        let counts = [
            errors.timeout_count(),
            errors.connection_refused_count(),
            errors.http_code4_xx_count(),
            errors.http_code5_xx_count(),
            errors.unknown_host_count(),
            errors.other_count(),
        ];
        assert_eq!(counts, [1, 1, 1, 1, 0, 0].map(Some));
    }
}
