//! Localization and Configuration: gather (source, rules, values, images) -> substitutions (pure)
//! -> publish (store, Snapshot).

mod error;
mod gather;
mod values;

use std::collections::BTreeMap;
use std::time::Duration;

use kube::ResourceExt as _;

use super::circle::Node;
use super::context::Context;
use super::driver::Reconcile;
use super::origin::{closure, origin, path_of};
use super::outcome::{Note, Outcome};
use super::produce;
use super::resource::identity;
use super::triggers::HasSnapshot;
use crate::api::{Configuration, Localization, MutationSpec, MutationStatus, Reason};
use crate::edit::Missing;
use crate::mutation::{
    self, KnownImage, LoadedImages, Mode, MutationKind, SchemaPolicy, Substitution, Violation,
    configure, localize, reference_paths,
};
use crate::ocm::{self, Accepted};
use crate::pipeline::{Layer, Localized};
use crate::snapshot::Namespace;

use error::{Error, Halt};
use gather::{Input, Rules, input, rules};

use values::Values;

pub(super) use values::artifact_of;

/// How long until content that is made again is looked for again, where it takes its time.
const MADE_AGAIN: Duration = Duration::from_secs(10);

const SOURCE_REF: &str = "spec.sourceRef";
const CONFIG_REF: &str = "spec.configRef";

/// The two kinds that change files by rules.
pub(super) trait Mutates: Reconcile<Status = MutationStatus> + HasSnapshot {
    /// Which of the two it is.
    const KIND: MutationKind;

    /// The key of the event's annotation that holds the result's digest.
    const DIGEST_KEY: &'static str;

    /// What they have in common.
    fn spec(&self) -> &MutationSpec;
}

impl Mutates for Localization {
    const KIND: MutationKind = MutationKind::Localization;
    const DIGEST_KEY: &'static str = "localization_digest";

    fn spec(&self) -> &MutationSpec {
        &self.spec.mutation
    }
}

impl Mutates for Configuration {
    const KIND: MutationKind = MutationKind::Configuration;
    const DIGEST_KEY: &'static str = "configuration_digest";

    fn spec(&self) -> &MutationSpec {
        &self.spec.mutation
    }
}

/// Implements [`Reconcile`] for the two kinds, which differ in name only.
macro_rules! reconcile {
    ($kind:ty, $name:literal) => {
        impl Reconcile for $kind {
            const NAME: &'static str = $name;
            type Status = MutationStatus;
            type Error = Error;

            fn status(&self) -> Option<&MutationStatus> {
                self.status.as_ref()
            }

            fn is_suspended(&self) -> bool {
                self.spec.mutation.suspend.unwrap_or_default()
            }

            fn interval(&self) -> Option<Duration> {
                Some(self.spec.mutation.interval.into())
            }

            async fn reconcile(&self, context: &Context) -> Result<Outcome<MutationStatus>, Error> {
                mutate(self, context).await
            }
        }
    };
}

reconcile!(Localization, "localization");
reconcile!(Configuration, "configuration");

/// What is to be published, and what is to be said about it.
struct Changed {
    layer: Layer,
    identity: BTreeMap<String, String>,
    version: String,
    config_version: String,
    uncovered: Vec<String>,
    notes: Vec<Note>,
    /// What the Ready message adds.
    remark: String,
}

async fn mutate<K: Mutates>(
    object: &K,
    context: &Context,
) -> Result<Outcome<MutationStatus>, Error> {
    match try_mutate(object, context).await {
        Ok(outcome) => Ok(outcome),
        Err(Halt::Waiting(waiting)) => Ok(Outcome::waiting(
            object.status().cloned().unwrap_or_default(),
            waiting,
        )),
        // The own result is the same as before, wherever it lies.
        Err(Halt::MadeAgain(waiting)) => {
            let status = object.status().cloned().unwrap_or_default();
            Ok(Outcome::waiting(status, waiting)
                .patiently()
                .again_after(MADE_AGAIN))
        }
        Err(Halt::Failed(error)) => Err(*error),
    }
}

async fn try_mutate<K: Mutates>(
    object: &K,
    context: &Context,
) -> Result<Outcome<MutationStatus>, Halt> {
    let spec = object.spec();
    let own = object.namespace().unwrap_or_default();
    if spec.patch_strategic_merge.is_some() {
        let message = "spec.patchStrategicMerge is not supported: use spec.configRef".to_owned();
        return Err(Error::Unusable { message }.into());
    }
    let this = Node::new(&K::kind(&()), &own, &object.name_any());
    if let Some(way) = context.circle(&this) {
        return Err(Error::Circle { way }.into());
    }
    let input = input(context, &spec.source_ref, &own).await?;
    if let Some(waiting) = context.lag(&spec.source_ref, &own) {
        return Err(Halt::Waiting(waiting));
    }
    let values = values::values(context, spec, &own).await?;
    let namespace: Namespace = own
        .parse()
        .map_err(|source| Error::ParseNamespace { source })?;
    let changed = match &spec.config_ref {
        Some(reference) => {
            let rules = rules(context, reference, &own).await?;
            by_rules(context, K::KIND, &namespace, &input, rules, values).await?
        }
        None if K::KIND == MutationKind::Localization && values.is_none() => {
            without_rules(context, &namespace, &input, spec, &own).await?
        }
        None => {
            let message =
                "spec.configRef is missing: name the ComponentVersion and the resource that \
                           hold the rules"
                    .to_owned();
            return Err(Error::Unusable { message }.into());
        }
    };
    let mut identity = changed.identity;
    identity.insert(
        "mutation-object-uuid".to_owned(),
        object.uid().unwrap_or_default(),
    );
    let snapshot_name =
        produce::publish(context, object, &changed.layer, &identity, &changed.version)
            .await
            .map_err(|source| Error::Publish { source })?;
    let status = MutationStatus {
        latest_snapshot_digest: Some(changed.layer.digest.to_string()),
        latest_source_version: input.version,
        latest_config_version: Some(changed.config_version),
        uncovered_images: changed.uncovered,
        snapshot_name: Some(snapshot_name),
        ..object.status().cloned().unwrap_or_default()
    };
    Ok(
        Outcome::ready(status, format!("Reconciliation success{}", changed.remark))
            .again_after(spec.interval.into())
            .noting(changed.notes)
            .about(K::DIGEST_KEY, changed.layer.digest.to_string()),
    )
}

/// Changes the files as the rules of a component say.
async fn by_rules(
    context: &Context,
    kind: MutationKind,
    namespace: &Namespace,
    input: &Input,
    rules: Rules,
    values: Option<Values>,
) -> Result<Changed, Error> {
    let mut notes = Vec::new();
    let mut remark = String::new();
    let substitutions = match Mode::of(kind, values.is_some(), &rules.data) {
        Mode::Localize => localization(context, &rules).await?,
        Mode::LocalizeInstead => {
            let message = "the rules have no configuration part: their localization is applied \
                           instead, which is what a Localization is for";
            notes.push(Note {
                reason: Reason::Succeeded,
                message: message.to_owned(),
            });
            localization(context, &rules).await?
        }
        Mode::Configure => {
            let configuration = rules.data.configuration.clone().unwrap_or_default();
            let policy = context.settings.config_schema;
            let Configured {
                substitutions,
                violations,
            } = configured(configuration, values, policy).await?;
            if !violations.is_empty() {
                let message = format!(
                    "the values violate the schema of the component: {}",
                    violations.join("; ")
                );
                remark = format!("; {message}");
                notes.push(Note {
                    reason: Reason::ConfigSchemaViolated,
                    message,
                });
            }
            substitutions
        }
    };
    let layer = context
        .pipeline
        .substitute(namespace, &input.layer, substitutions)
        .await
        .map_err(|source| Error::Substitute { source })?;
    Ok(Changed {
        layer,
        config_version: rules.origin.component.descriptor.version.to_string(),
        identity: rules.identity,
        version: rules.version,
        uncovered: Vec::new(),
        notes,
        remark,
    })
}

/// What configuration writes, and what of the values the component's schema does not allow.
struct Configured {
    substitutions: Vec<Substitution>,
    violations: Vec<String>,
}

/// Evaluates the rules on a thread that may be busy for a while. What a Secret holds is not shown:
/// of its values only the places are told.
async fn configured(
    configuration: mutation::Configuration,
    values: Option<Values>,
    policy: SchemaPolicy,
) -> Result<Configured, Error> {
    let is_secret = values.as_ref().is_some_and(|values| values.is_secret);
    let values = values.map(|values| values.value);
    let work = move || configure(&configuration, values.as_ref(), policy);
    let done = tokio::task::spawn_blocking(work)
        .await
        .map_err(|source| Error::Aborted { source })?;
    let found = done.map_err(|source| match source {
        mutation::Error::ViolateSchema { violations } if is_secret => Error::ConfigureSecret {
            violations: told(&violations, is_secret).join("; "),
        },
        _ if is_secret => Error::ConfigureSecret {
            violations: "an expression in them, or in the rules, cannot be evaluated".to_owned(),
        },
        source => Error::Configure { source },
    })?;
    Ok(Configured {
        substitutions: found.substitutions,
        violations: told(&found.violations, is_secret),
    })
}

fn told(violations: &[Violation], is_secret: bool) -> Vec<String> {
    let tell = |violation: &Violation| {
        if is_secret {
            violation.path.clone()
        } else {
            violation.to_string()
        }
    };
    violations.iter().map(tell).collect()
}

/// Finds the images in the files by itself, and points those of the component at its copies.
async fn without_rules(
    context: &Context,
    namespace: &Namespace,
    input: &Input,
    spec: &MutationSpec,
    own: &str,
) -> Result<Changed, Halt> {
    let (component, wanted) = context.source_component(&spec.source_ref, own)?;
    let closure = closure(context, &component)
        .await
        .map_err(|source| Error::Origin {
            field: SOURCE_REF,
            source,
        })?;
    let origin = origin(context, &component, &path_of(&wanted))
        .await
        .map_err(|source| Error::Origin {
            field: SOURCE_REF,
            source,
        })?;
    let (known, unpinned) = known_images(context, &closure);
    let found = context
        .pipeline
        .localize_images(namespace, &input.layer, known)
        .await
        .map_err(|source| Error::Substitute { source })?;
    let version = origin.component.descriptor.version.to_string();
    let (mut notes, remark) = uncovered_note(&found);
    if !unpinned.is_empty() {
        let message = format!(
            "images that are not used, since they cannot be held to a digest: {}",
            unpinned.join("; ")
        );
        let reason = Reason::ImagesNotCovered;
        notes.push(Note { reason, message });
    }
    let uncovered = found.uncovered;
    Ok(Changed {
        layer: found.layer,
        identity: identity(&wanted, &origin, &version),
        config_version: version.clone(),
        version,
        uncovered,
        notes,
        remark,
    })
}

/// The images of `components`, in the form in which they are written, and those that have none: an
/// image whose place is not the one of the digest that was signed is never written.
fn known_images(context: &Context, components: &[Accepted]) -> (Vec<KnownImage>, Vec<String>) {
    let (mut known, mut unpinned) = (Vec::new(), Vec::new());
    for component in components {
        for resource in &component.descriptor.resources {
            // What has no place as an image is none.
            if ocm::location(component, resource).is_err() {
                continue;
            }
            let pins = context.settings.pin_images;
            match pins.reference(component, resource) {
                Ok(image) => known.push(KnownImage::new(resource, image)),
                Err(problem) => unpinned.push(problem.to_string()),
            }
        }
    }
    (known, unpinned)
}

fn uncovered_note(found: &Localized) -> (Vec<Note>, String) {
    let unreadable = match found.unreadable.as_slice() {
        [] => String::new(),
        files => format!("; not read: {}", files.join("; ")),
    };
    let remark = format!(
        ": {} images localized, {} not covered by the component{unreadable}",
        found.covered, found.not_covered
    );
    let notes = match found.uncovered.as_slice() {
        [] => Vec::new(),
        images => {
            let message = format!(
                "images that no resource of the component covers: {}",
                images.join("; ")
            );
            vec![Note {
                reason: Reason::ImagesNotCovered,
                message,
            }]
        }
    };
    (notes, remark)
}

/// What the rules for images write, as the component says now where its images are.
async fn localization(context: &Context, rules: &Rules) -> Result<Vec<Substitution>, Error> {
    let mut components = BTreeMap::new();
    for path in reference_paths(&rules.data.localization) {
        let full: Vec<_> = rules.origin.path.iter().chain(&path).cloned().collect();
        let below = origin(context, &rules.component, &full)
            .await
            .map_err(|source| Error::Origin {
                field: CONFIG_REF,
                source,
            })?;
        components.insert(path, below.component);
    }
    let missing = if context.settings.lenient_localization {
        Missing::Create
    } else {
        Missing::Refuse
    };
    let images = LoadedImages {
        components: &components,
        reference: |component: &Accepted, resource: &_| {
            let pins = context.settings.pin_images;
            pins.reference(component, resource)
        },
    };
    localize(&rules.data.localization, &images, missing)
        .map_err(|source| Error::Localize { source })
}
