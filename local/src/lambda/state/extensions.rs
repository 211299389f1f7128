//! The extensions of an environment and their states (L-5.1, L-5.2, table 5.1). No input or output.

use std::time::Instant;

use serde::Deserialize;
use uuid::Uuid;

use crate::lambda::event_log::ProcessExit;

/// External and internal extensions together (L-1.4).
pub(crate) const MAX_EXTENSIONS: usize = 10;

/// Why a call is refused; each is answered 403 with its error type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("header Lambda-Extension-Name is empty or missing")]
    InvalidExtensionName,
    #[error("an event of the list cannot be registered")]
    InvalidEventType,
    #[error("the body is not a registration")]
    InvalidRequestFormat,
    #[error("extensions can register only until the runtime asks for its first event")]
    RegistrationClosed,
    #[error("the call is not allowed in the extension's present state")]
    InvalidExtensionState,
    #[error("there are {MAX_EXTENSIONS} extensions already")]
    TooManyExtensions,
    #[error("header Lambda-Extension-Identifier is missing")]
    MissingExtensionIdentifier,
    #[error("header Lambda-Extension-Identifier is not a UUID")]
    InvalidExtensionIdentifier,
    #[error("no extension has this identifier")]
    UnknownExtensionIdentifier,
    #[error("header Lambda-Extension-Function-Error-Type is missing")]
    MissingHeader,
}

impl Refusal {
    pub(crate) fn error_type(self) -> &'static str {
        match self {
            Self::InvalidExtensionName => "Extension.InvalidExtensionName",
            Self::InvalidEventType => "Extension.InvalidEventType",
            Self::InvalidRequestFormat => "InvalidRequestFormat",
            Self::RegistrationClosed => "Extension.RegistrationClosed",
            Self::InvalidExtensionState => "Extension.InvalidExtensionState",
            Self::TooManyExtensions => "Extension.TooManyExtensions",
            Self::MissingExtensionIdentifier => "Extension.MissingExtensionIdentifier",
            Self::InvalidExtensionIdentifier => "Extension.InvalidExtensionIdentifier",
            Self::UnknownExtensionIdentifier => "Extension.UnknownExtensionIdentifier",
            Self::MissingHeader => "Extension.MissingHeader",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExtensionState {
    Started,
    Registered,
    /// Waiting in `event/next`.
    Ready,
    /// Has, or is about to get, an event.
    Running,
    InitError,
    ExitError,
}

/// An event on its way to an extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PendingEvent {
    pub(crate) body: String,
    /// `Lambda-Extension-Event-Identifier`, INVOKE only.
    pub(crate) id: Option<String>,
}

/// What an extension said in `init/error` or `exit/error`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ErrorReport {
    pub(crate) error_type: String,
    pub(crate) body: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Extension {
    pub(crate) name: String,
    /// Started from `/opt/extensions`; the others registered from inside the runtime.
    pub(crate) external: bool,
    pub(crate) id: Option<Uuid>,
    pub(crate) state: ExtensionState,
    pub(crate) on_invoke: bool,
    pub(crate) on_shutdown: bool,
    pub(crate) error: Option<ErrorReport>,
    pub(crate) exit: Option<ProcessExit>,
    /// When it last began to wait in `event/next`.
    ready_since: Option<Instant>,
    pending: Option<PendingEvent>,
}

impl Extension {
    fn started(name: &str, external: bool) -> Self {
        Self {
            name: name.to_owned(),
            external,
            id: None,
            state: ExtensionState::Started,
            on_invoke: false,
            on_shutdown: false,
            error: None,
            exit: None,
            ready_since: None,
            pending: None,
        }
    }

    /// The events it registered for, as telemetry names them.
    pub(crate) fn events(&self) -> Vec<&'static str> {
        let events = [("INVOKE", self.on_invoke), ("SHUTDOWN", self.on_shutdown)];
        events.into_iter().filter(|(_, registered)| *registered).map(|(name, _)| name).collect()
    }

    fn subscribe(&mut self, events: &[String], managed: bool) -> Result<Uuid, Refusal> {
        if self.state != ExtensionState::Started {
            return Err(Refusal::InvalidExtensionState);
        }
        let known = |event: &str| (event == "INVOKE" && !managed) || (event == "SHUTDOWN" && self.external);
        if !events.iter().all(|event| known(event)) {
            return Err(Refusal::InvalidEventType);
        }
        self.on_invoke = events.iter().any(|event| event == "INVOKE");
        self.on_shutdown = events.iter().any(|event| event == "SHUTDOWN");
        self.state = ExtensionState::Registered;
        let id = Uuid::new_v4();
        self.id = Some(id);
        Ok(id)
    }
}

/// The body of a registration.
#[derive(Debug, Deserialize)]
struct Registration {
    #[serde(default)]
    events: Vec<String>,
    #[serde(default, rename = "configurationKeys")]
    configuration_keys: Vec<String>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Registry {
    extensions: Vec<Extension>,
    closed: bool,
    /// On a managed instance: nobody gets INVOKE (L-8.26).
    managed: bool,
}

impl Registry {
    pub(crate) fn new(external: &[String], managed: bool) -> Self {
        let extensions = external.iter().map(|name| Extension::started(name, true)).collect();
        Self { extensions, closed: false, managed }
    }

    pub(crate) fn all(&self) -> &[Extension] {
        &self.extensions
    }

    pub(crate) fn register(&mut self, name: Option<&str>, body: &[u8]) -> Result<Uuid, Refusal> {
        let name = name.filter(|name| !name.is_empty()).ok_or(Refusal::InvalidExtensionName)?;
        let registration: Registration =
            serde_json::from_slice(body).map_err(|_| Refusal::InvalidRequestFormat)?;
        if !registration.configuration_keys.is_empty() {
            return Err(Refusal::InvalidRequestFormat);
        }
        if let Some(known) = self.extensions.iter_mut().find(|extension| extension.name == name) {
            return known.subscribe(&registration.events, self.managed);
        }
        if self.closed {
            return Err(Refusal::RegistrationClosed);
        }
        if self.extensions.len() >= MAX_EXTENSIONS {
            return Err(Refusal::TooManyExtensions);
        }
        let mut internal = Extension::started(name, false);
        let id = internal.subscribe(&registration.events, self.managed)?;
        self.extensions.push(internal);
        Ok(id)
    }

    /// From the runtime's first `next` on, no unknown name is taken.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    /// The extension that a request's identifier header names.
    pub(crate) fn identify(&self, header: Option<&str>) -> Result<&Extension, Refusal> {
        let header = header.filter(|id| !id.is_empty()).ok_or(Refusal::MissingExtensionIdentifier)?;
        let id: Uuid = header.parse().map_err(|_| Refusal::InvalidExtensionIdentifier)?;
        let known = self.extensions.iter().find(|extension| extension.id == Some(id));
        known.ok_or(Refusal::UnknownExtensionIdentifier)
    }

    fn identify_mut(&mut self, header: Option<&str>) -> Result<&mut Extension, Refusal> {
        let id = self.identify(header)?.id;
        let known = self.extensions.iter_mut().find(|extension| extension.id == id);
        known.ok_or(Refusal::UnknownExtensionIdentifier)
    }

    /// `event/next`: from now on the extension waits, or has the event that was waiting for it.
    pub(crate) fn next(&mut self, header: Option<&str>, now: Instant) -> Result<(), Refusal> {
        let extension = self.identify_mut(header)?;
        match extension.state {
            ExtensionState::Registered | ExtensionState::Running => {
                let waiting = extension.pending.is_some();
                extension.ready_since = Some(now);
                extension.state = if waiting { ExtensionState::Running } else { ExtensionState::Ready };
                Ok(())
            }
            _ => Err(Refusal::InvalidExtensionState),
        }
    }

    pub(crate) fn has_event(&self, header: Option<&str>) -> bool {
        self.identify(header).is_ok_and(|extension| extension.pending.is_some())
    }

    pub(crate) fn take_event(&mut self, header: Option<&str>) -> Option<PendingEvent> {
        self.identify_mut(header).ok()?.pending.take()
    }

    /// `init/error` and `exit/error`.
    pub(crate) fn report_error(
        &mut self,
        header: Option<&str>,
        in_init: bool,
        error_type: Option<&str>,
        body: &[u8],
    ) -> Result<(), Refusal> {
        let extension = self.identify_mut(header)?;
        let error_type = error_type.filter(|text| !text.is_empty()).ok_or(Refusal::MissingHeader)?;
        let allowed = match extension.state {
            ExtensionState::Registered => true,
            ExtensionState::Ready | ExtensionState::Running => !in_init,
            _ => false,
        };
        if !allowed {
            return Err(Refusal::InvalidExtensionState);
        }
        extension.state = if in_init { ExtensionState::InitError } else { ExtensionState::ExitError };
        extension.error = Some(ErrorReport {
            error_type: error_type.to_owned(),
            body: String::from_utf8_lossy(body).into_owned(),
        });
        Ok(())
    }

    pub(crate) fn exited(&mut self, name: &str, exit: ProcessExit) {
        if let Some(extension) = self.extensions.iter_mut().find(|extension| extension.name == name) {
            extension.exit = Some(exit);
        }
    }

    pub(crate) fn all_registered(&self) -> bool {
        self.extensions.iter().all(|extension| extension.state != ExtensionState::Started)
    }

    /// Every extension waits in `event/next`.
    pub(crate) fn all_ready(&self) -> bool {
        self.extensions.iter().all(|extension| extension.state == ExtensionState::Ready)
    }

    /// When the last of them began to wait.
    pub(crate) fn last_ready(&self) -> Option<Instant> {
        self.extensions.iter().filter_map(|extension| extension.ready_since).max()
    }

    /// The first extension that reported an error or exited.
    pub(crate) fn failed(&self) -> Option<&Extension> {
        self.extensions.iter().find(|extension| extension.error.is_some() || extension.exit.is_some())
    }

    /// Gives INVOKE to every extension that registered for it.
    pub(crate) fn release_invoke(&mut self, body: &str) {
        for extension in self.extensions.iter_mut().filter(|extension| extension.on_invoke) {
            extension.state = ExtensionState::Running;
            extension.pending =
                Some(PendingEvent { body: body.to_owned(), id: Some(Uuid::new_v4().to_string()) });
        }
    }

    /// Gives SHUTDOWN to every external extension that registered for it, at once or at its next `next`; returns their
    /// names.
    pub(crate) fn release_shutdown(&mut self, body: &str) -> Vec<String> {
        let mut released = Vec::new();
        for extension in &mut self.extensions {
            if !extension.external || !extension.on_shutdown || extension.exit.is_some() {
                continue;
            }
            extension.pending = Some(PendingEvent { body: body.to_owned(), id: None });
            if extension.state == ExtensionState::Ready {
                extension.state = ExtensionState::Running;
            }
            released.push(extension.name.clone());
        }
        released
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &[u8] = br#"{"events":["INVOKE","SHUTDOWN"]}"#;

    fn registry() -> Registry {
        Registry::new(&["collector".to_owned()], false)
    }

    fn registered() -> (Registry, String) {
        let mut registry = registry();
        let id = registry.register(Some("collector"), BOTH).unwrap().to_string();
        (registry, id)
    }

    #[test]
    fn table_5_1_registration() {
        let cases: [(Option<&str>, &[u8], Option<Refusal>); 11] = [
            (Some("collector"), BOTH, None),
            (Some("collector"), b"{}", None),
            (Some("collector"), br#"{"events":[],"configurationKeys":[]}"#, None),
            (Some("internal"), br#"{"events":["INVOKE"]}"#, None),
            (None, BOTH, Some(Refusal::InvalidExtensionName)),
            (Some(""), BOTH, Some(Refusal::InvalidExtensionName)),
            (Some("collector"), br#"{"events":["RESTORE"]}"#, Some(Refusal::InvalidEventType)),
            (Some("internal"), BOTH, Some(Refusal::InvalidEventType)),
            (Some("collector"), b"events", Some(Refusal::InvalidRequestFormat)),
            (Some("collector"), br#"{"configurationKeys":["a"]}"#, Some(Refusal::InvalidRequestFormat)),
            (Some("collector"), br#"{"events":"INVOKE"}"#, Some(Refusal::InvalidRequestFormat)),
        ];
        for (name, body, refusal) in cases {
            let answer = registry().register(name, body);
            assert_eq!(answer.err(), refusal, "{name:?} {}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn a_refused_registration_changes_no_state() {
        let mut registry = registry();
        let refused = registry.register(Some("collector"), br#"{"events":["SHUTDOWN","X"]}"#);
        assert_eq!(refused, Err(Refusal::InvalidEventType));
        assert!(registry.register(Some("collector"), br#"{"events":["SHUTDOWN"]}"#).is_ok());
        assert_eq!(registry.all()[0].events(), ["SHUTDOWN"]);
        assert_eq!(registry.register(Some("collector"), BOTH), Err(Refusal::InvalidExtensionState));
    }

    #[test]
    fn l_8_26_on_a_managed_instance_nobody_registers_for_invoke() {
        let mut registry = Registry::new(&["collector".to_owned()], true);
        for name in ["collector", "internal"] {
            assert_eq!(registry.register(Some(name), BOTH), Err(Refusal::InvalidEventType), "{name}");
        }
        let shutdown = br#"{"events":["SHUTDOWN"]}"#;
        assert_eq!(registry.register(Some("internal"), shutdown), Err(Refusal::InvalidEventType));
        assert!(registry.register(Some("internal"), b"{}").is_ok());
        assert!(registry.register(Some("collector"), shutdown).is_ok(), "a refusal changes no state");
        assert_eq!(registry.all()[0].events(), ["SHUTDOWN"]);
    }

    #[test]
    fn l_1_4_the_eleventh_extension_and_a_late_one_are_refused() {
        let mut registry = registry();
        for index in 1..MAX_EXTENSIONS {
            assert!(registry.register(Some(&format!("internal-{index}")), b"{}").is_ok());
        }
        assert_eq!(registry.register(Some("one-more"), b"{}"), Err(Refusal::TooManyExtensions));
        registry.close();
        assert_eq!(registry.register(Some("late"), b"{}"), Err(Refusal::RegistrationClosed));
        assert!(registry.register(Some("collector"), BOTH).is_ok(), "a known name is taken even then");
    }

    #[test]
    fn table_5_1_identifier() {
        let (registry, id) = registered();
        let unknown = Uuid::new_v4().to_string();
        let cases = [
            (None, Some(Refusal::MissingExtensionIdentifier)),
            (Some(""), Some(Refusal::MissingExtensionIdentifier)),
            (Some("no-uuid"), Some(Refusal::InvalidExtensionIdentifier)),
            (Some(unknown.as_str()), Some(Refusal::UnknownExtensionIdentifier)),
            (Some(id.as_str()), None),
        ];
        for (header, refusal) in cases {
            assert_eq!(registry.identify(header).err(), refusal, "{header:?}");
        }
    }

    #[test]
    fn l_5_1_one_outstanding_next() {
        let (mut registry, id) = registered();
        let id = Some(id.as_str());
        assert_eq!(registry.next(id, Instant::now()), Ok(()));
        assert!(registry.all_ready());
        assert_eq!(registry.next(id, Instant::now()), Err(Refusal::InvalidExtensionState));
        registry.release_invoke("{}");
        assert!(!registry.all_ready());
        assert!(registry.take_event(id).is_some_and(|event| event.id.is_some()));
        assert!(!registry.has_event(id));
        assert_eq!(registry.next(id, Instant::now()), Ok(()));
        assert!(registry.all_ready());
    }

    #[test]
    fn table_5_1_error_reports() {
        let body = br#"{"errorMessage":"m","errorType":"t","stackTrace":[]}"#;
        // Calls made first, whether init/error, expected refusal.
        let cases: [(usize, bool, Option<Refusal>); 4] = [
            (0, true, None),
            (0, false, None),
            (1, true, Some(Refusal::InvalidExtensionState)),
            (1, false, None),
        ];
        for (nexts, in_init, refusal) in cases {
            let (mut registry, id) = registered();
            for _ in 0..nexts {
                registry.next(Some(&id), Instant::now()).unwrap();
            }
            let missing = registry.report_error(Some(&id), in_init, None, body);
            assert_eq!(missing, Err(Refusal::MissingHeader));
            let answer = registry.report_error(Some(&id), in_init, Some("Collector.Broken"), body);
            assert_eq!(answer.err(), refusal);
            if refusal.is_none() {
                assert_eq!(registry.failed().map(|extension| extension.name.as_str()), Some("collector"));
                assert_eq!(registry.next(Some(&id), Instant::now()), Err(Refusal::InvalidExtensionState));
                let again = registry.report_error(Some(&id), in_init, Some("Collector.Broken"), body);
                assert_eq!(again, Err(Refusal::InvalidExtensionState));
            }
        }
    }

    #[test]
    fn l_8_13_shutdown_waits_for_a_busy_extension() {
        let (mut registry, id) = registered();
        let id = Some(id.as_str());
        registry.next(id, Instant::now()).unwrap();
        registry.release_invoke("{}");
        registry.take_event(id).unwrap();
        assert_eq!(registry.release_shutdown("bye"), ["collector"]);
        registry.next(id, Instant::now()).unwrap();
        let event = registry.take_event(id).unwrap();
        assert_eq!((event.body.as_str(), event.id), ("bye", None));
    }
}
