//! Status conditions: `Ready`, `Reconciling`, `Stalled`, as kstatus and Flux read them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// What the API server takes as a condition's message at most, in bytes.
const MAX_MESSAGE: usize = 32_768;

/// The types of conditions that this program writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionType {
    /// Nothing will change until somebody changes something. Exists only while true.
    Stalled,
    /// Work is under way or will be tried again. Exists only while true.
    Reconciling,
    /// The object's result is there and right.
    Ready,
}

impl ConditionType {
    /// The type as it stands in the object.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stalled => "Stalled",
            Self::Reconciling => "Reconciling",
            Self::Ready => "Ready",
        }
    }
}

/// Declares [`Reason`] with its texts, so that the list of all reasons cannot miss one.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a condition is as it is: a closed list, used for conditions, events and metrics.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// All reasons, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The reason as it stands in a condition or event.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

reasons! {
    /// All is well.
    Succeeded = "Succeeded",
    /// Work is under way.
    Progressing = "Progressing",
    /// Work failed and will be tried again.
    ProgressingWithRetry = "ProgressingWithRetry",
    /// Credentials could not be read: a ServiceAccount or Secret is missing or malformed.
    AuthenticatedContextCreationFailed = "AuthenticatedContextCreationFailed",
    /// Listing or choosing the version failed.
    CheckVersionFailed = "CheckVersionFailedReason",
    /// A signature did not verify.
    ComponentVerificationFailed = "ComponentVerificationFailed",
    /// The component version cannot be read.
    ComponentVersionInvalid = "ComponentVersionInvalid",
    /// A version that is in use was pushed again with other content.
    ComponentVersionRepublished = "ComponentVersionRepublished",
    /// Replication to `spec.destination` failed.
    TransferFailed = "TransferFailed",
    /// Writing a ComponentDescriptor object failed.
    CreateOrUpdateComponentDescriptorFailed = "CreateOrUpdateComponentDescriptorFailed",
    /// Following the references to other components failed.
    ParseReferencesFailed = "ParseReferencesFailed",
    /// The ComponentVersion that is named does not exist.
    ComponentVersionNotFound = "ComponentVersionNotFound",
    /// The ComponentVersion that is named is not ready.
    ComponentVersionNotReady = "ComponentVersionNotReady",
    /// The resource cannot be found or fetched.
    GetResourceFailed = "GetResourceFailed",
    /// The descriptor of the component cannot be read.
    GetComponentDescriptorFailed = "GetComponentDescriptorFailed",
    /// `referencePath` leads nowhere.
    ComponentDescriptorNotFound = "ComponentDescriptorNotFound",
    /// Writing the Snapshot object failed.
    CreateOrUpdateSnapshotFailed = "CreateOrUpdateSnapshotFailed",
    /// The source that is named does not exist or cannot be used.
    SourceRefNotReadyWithError = "SourceRefNotReadyWithError",
    /// The source that is named is not ready.
    SourceRefNotReady = "SourceRefNotReady",
    /// What `configRef` names does not exist or cannot be used.
    ConfigRefNotReadyWithError = "ConfigRefNotReadyWithError",
    /// What `configRef` names is not ready.
    ConfigRefNotReady = "ConfigRefNotReady",
    /// The source is not an archive of files.
    SourceNotATarArchive = "SourceReasonNotATarArchive",
    /// The configuration values violate the component's schema.
    ConfigSchemaViolated = "ConfigSchemaViolated",
    /// The values that the spec names cannot be read.
    ValuesNotReady = "ValuesNotReady",
    /// Images are covered by no resource of the component.
    ImagesNotCovered = "ImagesNotCovered",
    /// Changing the files failed.
    ReconcileMutationObjectFailed = "ReconcileMutationObjectFailed",
    /// The content of a snapshot is not in the store; it is being made again.
    SnapshotContentMissing = "SnapshotContentMissing",
    /// Writing the OCIRepository or Kustomization failed.
    CreateOrUpdateKustomizationFailed = "CreateOrUpdateKustomizationFailed",
    /// Writing the OCIRepository or HelmRelease failed.
    CreateOrUpdateHelmFailed = "CreateOrUpdateHelmFailed",
    /// `waitForReady` is set and what was written is not ready.
    CreatedObjectsNotReady = "CreatedObjectsNotReady",
    /// The kinds of Flux are not installed in the cluster.
    FluxNotInstalled = "FluxNotInstalled",
    /// A reference or template asks for more than its namespace may have.
    AccessDenied = "AccessDenied",
    /// An object of the name to be written belongs to somebody else.
    Conflict = "Conflict",
    /// The object says something that cannot be done.
    InvalidSpec = "InvalidSpec",
    /// The content store cannot be read or written.
    StorageOperationFailed = "StorageOperationFailed",
    /// The API server refused a request.
    ApiServerRequestFailed = "ApiServerRequestFailed",
    /// The work took longer than it may.
    ReconcileTimedOut = "ReconcileTimedOut",
    /// The program has a defect that showed on this object.
    InternalError = "InternalError",
}

impl Reason {
    /// Whether the reason tells that something is amiss: an event about it is a Warning.
    pub fn is_failure(self) -> bool {
        !matches!(self, Self::Succeeded | Self::Progressing)
    }
}

/// What an object's conditions should say now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Ready=True.
    Ready,
    /// Reconciling=True; Ready=Unknown where it was not decided before.
    Progressing,
    /// Ready=False for a while: an answer from elsewhere is awaited. Reconciling=True.
    Waiting,
    /// Ready=False, and the work is tried again. Reconciling=True.
    Failing,
    /// Ready=False and Stalled=True: only a change by somebody helps.
    Stalled,
}

/// The conditions of one object, as they are computed from those that it has.
#[derive(Debug)]
pub struct Conditions<'a> {
    before: &'a [Condition],
    generation: Option<i64>,
    now: Timestamp,
}

impl<'a> Conditions<'a> {
    /// Starts from the conditions that an object of `generation` has, at the time `now`.
    pub fn new(before: &'a [Condition], generation: Option<i64>, now: Timestamp) -> Self {
        Self {
            before,
            generation,
            now,
        }
    }

    /// The conditions that say `state`; others than our types are kept as they are.
    pub fn with(&self, state: State, reason: Reason, message: &str) -> Vec<Condition> {
        let ready = match state {
            State::Ready => "True",
            State::Progressing => self.status_of(ConditionType::Ready).unwrap_or("Unknown"),
            State::Waiting | State::Failing | State::Stalled => "False",
        };
        let mut conditions = Vec::new();
        if state == State::Stalled {
            conditions.push(self.condition(ConditionType::Stalled, "True", reason, message));
        }
        let reconciling = match state {
            State::Ready | State::Stalled => None,
            State::Progressing | State::Waiting => Some(Reason::Progressing),
            State::Failing => Some(Reason::ProgressingWithRetry),
        };
        if let Some(reason) = reconciling {
            conditions.push(self.condition(ConditionType::Reconciling, "True", reason, message));
        }
        conditions.push(self.condition(ConditionType::Ready, ready, reason, message));
        let ours = |kind: &str| matches!(kind, "Ready" | "Reconciling" | "Stalled");
        conditions.extend(
            self.before
                .iter()
                .filter(|found| !ours(&found.type_))
                .cloned(),
        );
        conditions
    }

    fn status_of(&self, kind: ConditionType) -> Option<&'a str> {
        self.find(kind).map(|found| found.status.as_str())
    }

    fn find(&self, kind: ConditionType) -> Option<&'a Condition> {
        self.before
            .iter()
            .find(|found| found.type_ == kind.as_str())
    }

    /// `lastTransitionTime` moves only when the status flips.
    fn condition(
        &self,
        kind: ConditionType,
        status: &str,
        reason: Reason,
        message: &str,
    ) -> Condition {
        let unchanged = self.find(kind).filter(|found| found.status == status);
        Condition {
            type_: kind.as_str().to_owned(),
            status: status.to_owned(),
            reason: reason.as_str().to_owned(),
            message: truncated(message, MAX_MESSAGE).to_owned(),
            observed_generation: self.generation,
            last_transition_time: unchanged
                .map_or(Time(self.now), |found| found.last_transition_time.clone()),
        }
    }
}

/// Whether an object with these conditions is ready: Ready and neither Reconciling nor Stalled.
pub fn is_ready(conditions: &[Condition]) -> bool {
    let is_true = |kind: ConditionType| {
        conditions
            .iter()
            .any(|found| found.type_ == kind.as_str() && found.status == "True")
    };
    is_true(ConditionType::Ready)
        && !is_true(ConditionType::Reconciling)
        && !is_true(ConditionType::Stalled)
}

/// The longest start of `text` of at most `limit` bytes that ends at a character.
pub fn truncated(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    let end = (0..=limit)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLY: &str = "2026-01-01T00:00:00Z";
    const LATE: &str = "2026-02-02T00:00:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn time_of(conditions: &[Condition], kind: ConditionType) -> String {
        let found = conditions
            .iter()
            .find(|found| found.type_ == kind.as_str())
            .unwrap();
        found.last_transition_time.0.to_string()
    }

    #[test]
    fn transition_time_moves_only_when_the_status_flips() {
        let first =
            Conditions::new(&[], Some(1), at(EARLY)).with(State::Ready, Reason::Succeeded, "one");
        let second =
            Conditions::new(&first, Some(2), at(LATE)).with(State::Ready, Reason::Succeeded, "two");
        assert_eq!(time_of(&second, ConditionType::Ready), EARLY);
        assert_eq!(second[0].message, "two");
        let third = Conditions::new(&second, Some(2), at(LATE)).with(
            State::Failing,
            Reason::GetResourceFailed,
            "three",
        );
        assert_eq!(time_of(&third, ConditionType::Ready), LATE);
    }

    #[test]
    fn stalled_and_reconciling_exist_only_while_true() {
        let stalled =
            Conditions::new(&[], None, at(EARLY)).with(State::Stalled, Reason::InvalidSpec, "x");
        assert_eq!(stalled[0].type_, "Stalled");
        let ready =
            Conditions::new(&stalled, None, at(EARLY)).with(State::Ready, Reason::Succeeded, "y");
        assert_eq!(ready.len(), 1);
        assert!(is_ready(&ready));
        assert!(!is_ready(&stalled));
    }

    #[test]
    fn progressing_keeps_what_was_decided() {
        let ready =
            Conditions::new(&[], None, at(EARLY)).with(State::Ready, Reason::Succeeded, "x");
        let progressing = Conditions::new(&ready, None, at(LATE)).with(
            State::Progressing,
            Reason::Progressing,
            "y",
        );
        let found = progressing
            .iter()
            .find(|found| found.type_ == "Ready")
            .unwrap();
        assert_eq!(found.status, "True");
        assert!(!is_ready(&progressing));
    }

    #[test]
    fn conditions_of_others_are_kept() {
        let mut foreign =
            Conditions::new(&[], None, at(EARLY)).with(State::Ready, Reason::Succeeded, "x");
        foreign[0].type_ = "Audited".to_owned();
        let after =
            Conditions::new(&foreign, None, at(LATE)).with(State::Ready, Reason::Succeeded, "y");
        assert!(after.iter().any(|found| found.type_ == "Audited"));
    }

    #[test]
    fn f48_long_message_is_cut_at_a_character() {
        let message = "é".repeat(MAX_MESSAGE);
        let conditions =
            Conditions::new(&[], None, at(EARLY)).with(State::Ready, Reason::Succeeded, &message);
        assert_eq!(conditions[0].message.len(), MAX_MESSAGE);
        assert_eq!(truncated("éé", 3), "é");
    }

    #[test]
    fn f48_every_reason_fits_the_api() {
        for reason in Reason::ALL {
            assert!(
                reason
                    .as_str()
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric()),
                "{reason:?}"
            );
        }
    }
}
