//! Images in objects of Kubernetes: the fields that make a kubelet pull.

use super::{Place, Search, entry};
use crate::edit::Value;

/// Lists may hold lists; deeper ones are no manifests.
const MAX_LISTS: usize = 4;
/// The lists of a pod whose items have an `image`.
const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Looks for images in the object `document`.
pub(super) fn search(document: Value<'_>, place: &Place, search: &mut Search<'_>) {
    object(document, place, search, MAX_LISTS);
}

fn object(value: Value<'_>, place: &Place, search: &mut Search<'_>, lists: usize) {
    let Some(kind) = entry(value, "kind").and_then(|kind| kind.text()) else {
        return;
    };
    if let Some(steps) = pod_spec(kind) {
        let mut here = Some((value, place.clone()));
        for step in steps {
            here = here.and_then(|(value, place)| Some((entry(value, step)?, place.key(step))));
        }
        if let Some((spec, place)) = here {
            pod(spec, &place, search);
        }
    } else if kind.ends_with("List") && lists > 0 {
        let Some(items) = entry(value, "items") else {
            return;
        };
        let place = place.key("items");
        for (index, item) in items.items().enumerate() {
            object(item, &place.index(index), search, lists - 1);
        }
    }
}

/// Where the core kinds have the spec of the pods that they make.
fn pod_spec(kind: &str) -> Option<&'static [&'static str]> {
    match kind {
        "Pod" => Some(&["spec"]),
        "PodTemplate" => Some(&["template", "spec"]),
        "Deployment"
        | "StatefulSet"
        | "DaemonSet"
        | "ReplicaSet"
        | "ReplicationController"
        | "Job" => Some(&["spec", "template", "spec"]),
        "CronJob" => Some(&["spec", "jobTemplate", "spec", "template", "spec"]),
        _ => None,
    }
}

fn pod(spec: Value<'_>, place: &Place, search: &mut Search<'_>) {
    for list in CONTAINERS {
        let place = place.key(list);
        for (index, container) in entry(spec, list)
            .into_iter()
            .flat_map(|list| list.items())
            .enumerate()
        {
            if let Some(image) = entry(container, "image") {
                search.reference(image, &place.index(index).key("image"));
            }
        }
    }
    let place = place.key("volumes");
    for (index, volume) in entry(spec, "volumes")
        .into_iter()
        .flat_map(|list| list.items())
        .enumerate()
    {
        let reference = entry(volume, "image").and_then(|image| entry(image, "reference"));
        if let Some(reference) = reference {
            search.reference(reference, &place.index(index).key("image").key("reference"));
        }
    }
}
