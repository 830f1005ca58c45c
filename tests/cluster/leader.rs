//! Several controllers with leader election: one acts, whatever happens to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use kube::ResourceExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::outside;
use crate::restarts::marks;
use crate::scene::{PROGRAM, Scene, TIMEOUT, arguments_for};
use crate::site::{OF_FLUX, PRIVATE, Site};
use crate::support::cluster::Flux;
use crate::support::cluster::audit::AuditEvent;
use crate::support::controller::{Controller, ControllerOptions};
use crate::support::wait::eventually;

const LEASE: &str = "f8b21459.ocm.software";

/// What happens to the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Kill,
    Pause,
}

/// What a Service is: an address that leads to one of several.
struct Service {
    address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
}

impl Service {
    async fn start(first: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let target = Arc::new(Mutex::new(first));
        let leads_to = Arc::clone(&target);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let target = *leads_to.lock().expect("nobody panics with it");
                tokio::spawn(async move {
                    // Either side may go at any moment.
                    if let Ok(mut server) = TcpStream::connect(target).await {
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Self { address, target }
    }
}

/// Whose accounts they have, so that the audit log tells them apart.
const NAMES: [&str; 3] = ["first", "second", "third"];

/// Several controllers, each with an account of its own.
struct Replicas {
    controllers: Vec<Controller>,
    service: Service,
}

impl Replicas {
    /// So many, with these arguments besides those for the election.
    async fn start(scene: &Scene, count: usize, arguments: &[String]) -> Self {
        let service = Service::start(([127, 0, 0, 1], 1).into()).await;
        let mut controllers = Vec::new();
        for name in &NAMES[..count] {
            controllers.push(start(scene, &service, name, arguments).await);
        }
        Self {
            controllers,
            service,
        }
    }

    /// Waits until one is the leader, and not `old`, and has the Service lead to it.
    async fn leader(&mut self, scene: &Scene, old: Option<usize>) -> usize {
        let leases = scene
            .cluster
            .api("coordination.k8s.io/v1", "Lease", "ocm-system")
            .await;
        let logs: Vec<_> = self
            .controllers
            .iter()
            .map(|controller| controller.log().to_owned())
            .collect();
        let leader = eventually("one is the leader", TIMEOUT, async || {
            let lease = leases.get(LEASE).await.map_err(|error| error.to_string())?;
            let holder = &lease.data["spec"]["holderIdentity"];
            let holder = holder.as_str().unwrap_or_default();
            let found = logs.iter().position(|log| {
                let text = std::fs::read_to_string(log).unwrap_or_default();
                !holder.is_empty() && text.contains(holder)
            });
            match found {
                Some(found) if Some(found) != old => Ok(found),
                _ => Err(format!("{holder:?} is the leader")),
            }
        })
        .await;
        let address = self.controllers[leader].registry_address();
        *self.service.target.lock().expect("nobody panics with it") = address;
        leader
    }

    /// Kills and pauses the leader in turn, in the middle of its work on a site that `site` makes;
    /// whoever comes after it finishes that, and goes on to lead. Gives the last one.
    async fn endure<'a>(
        &mut self,
        scene: &'a Scene,
        site: impl AsyncFn(String) -> Site<'a>,
        rounds: usize,
    ) -> usize {
        let mut leader = self.leader(scene, None).await;
        for round in 0..rounds {
            let fault = [Fault::Kill, Fault::Pause][round % 2];
            let old = leader;
            let begun = site(format!("round-{round}")).await;
            begun.apply(&begun.guide(PRIVATE)).await;
            match fault {
                Fault::Kill => self.controllers[old].kill(),
                Fault::Pause => self.controllers[old].process().pause(),
            }
            leader = self.leader(scene, Some(old)).await;
            begun.settled().await;
            match fault {
                Fault::Kill => self.controllers[old].start_again().await,
                Fault::Pause => self.controllers[old].process().resume(),
            }
            // Whoever was away leads no more, and lets the other one work.
            let after = site(format!("after-{round}")).await;
            after.apply(&after.guide(PRIVATE)).await;
            after.settled().await;
            assert_eq!(self.leader(scene, None).await, leader, "{fault:?}");
        }
        let (count, wrong) = writes_of_others(&scene.cluster.audit_log());
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(count > rounds * 20, "{count} writes");
        leader
    }
}

/// How often the leader is taken away: by `LEADER_ROUNDS`, else `otherwise`.
fn rounds(otherwise: usize) -> usize {
    std::env::var("LEADER_ROUNDS").map_or(otherwise, |rounds| rounds.parse().expect("a number"))
}

async fn start(scene: &Scene, service: &Service, name: &str, more: &[String]) -> Controller {
    let account = format!(
        "
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {name}, namespace: ocm-system}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {name}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: ocm-controller}}
subjects: [{{kind: ServiceAccount, name: {name}, namespace: ocm-system}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: {name}, namespace: ocm-system}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: ocm-controller-leader-election}}
subjects: [{{kind: ServiceAccount, name: {name}, namespace: ocm-system}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: {name}-secrets, namespace: ocm-system}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: ocm-controller}}
subjects: [{{kind: ServiceAccount, name: {name}, namespace: ocm-system}}]
"
    );
    scene.cluster.apply(&account).await;
    let mut arguments = arguments_for(&[("ghcr.io", &scene.private)]);
    arguments.extend(
        [
            "--leader-elect",
            "--runtime-namespace=ocm-system",
            "--leader-election-lease-duration=3s",
            "--leader-election-renew-deadline=2s",
            "--leader-election-retry-period=300ms",
        ]
        .map(str::to_owned),
    );
    arguments.extend(more.iter().cloned());
    let options = ControllerOptions {
        token: scene
            .cluster
            .service_account_token("ocm-system", name)
            .await,
        arguments,
        announced: Some(service.address),
        ..ControllerOptions::default()
    };
    Controller::start(&scene.cluster, PROGRAM, options).await
}

/// Of each object that Flux acts on its identity and generation: neither may change by a change
/// of the leader.
async fn orders(site: &Site<'_>) -> BTreeMap<String, String> {
    let mut orders = BTreeMap::new();
    for kind in OF_FLUX {
        for object in site.list(kind).await {
            let order = format!("{:?} {:?}", object.metadata.uid, object.metadata.generation);
            orders.insert(format!("{kind}/{}", object.name_any()), order);
        }
    }
    orders
}

/// Each write, by whom, and who held the Lease then. The log is in the order of answers, and a
/// Lease is written by its new holder before that one does anything else.
fn writes_of_others(log: &[AuditEvent]) -> (usize, Vec<String>) {
    let is_ours = |event: &&AuditEvent| {
        let user = event.user.strip_prefix("system:serviceaccount:ocm-system:");
        user.is_some_and(|name| NAMES.contains(&name)) && event.is_write()
    };
    let (mut holder, mut count, mut wrong) = (String::new(), 0, Vec::new());
    for event in log.iter().filter(is_ours) {
        if event.resource == "leases" {
            if event.code < 300 {
                holder.clone_from(&event.user);
            }
        } else {
            count += 1;
            if event.user != holder {
                wrong.push(format!("{event:?} while {holder} is the leader"));
            }
        }
    }
    (count, wrong)
}

/// A scene without the controller that it comes with, which would be one more.
async fn scene() -> Scene {
    let scene = Scene::start_with(Flux::Kustomize, &[]).await;
    scene.controller.lock().await.kill();
    scene.load_private("phoban01-air-gapped").await;
    scene
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn f39_f17_one_of_two_acts_although_the_leader_is_killed_and_paused() {
    let scene = scene().await;
    let mut replicas = Replicas::start(&scene, 2, &[]).await;
    replicas.leader(&scene, None).await;
    let first = Site::complete(&scene, "before").await;
    let before = orders(&first).await;
    assert_eq!(before.len(), 2, "{before:?}");

    let site = async |name: String| Site::new(&scene, &name).await;
    let leader = replicas.endure(&scene, site, rounds(4)).await;

    assert_eq!(orders(&first).await, before);
    // The one that leads gives the Lease up when it is asked to end, and the other need not wait.
    let status = replicas.controllers[leader].stop().await;
    assert!(status.success(), "{status}");
    let output = replicas.controllers[leader].process().output();
    assert!(output.contains("gave up the Lease"), "{output}");
    replicas.leader(&scene, Some(leader)).await;
}

/// Where results are pushed to another registry, nothing is lost with a leader: the next one finds
/// all of it there, and nothing of what was settled is written again, be it a status.
#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn f39_f17_one_of_three_acts_on_another_registry_and_nothing_flaps() {
    let registry = outside::registry().await;
    let host = registry.address().to_string();
    let scene = scene().await;
    outside::allow(&scene, &host).await;
    outside::give_secrets(&scene, &registry, &host).await;
    let arguments = outside::arguments(&registry);
    let mut replicas = Replicas::start(&scene, 3, &arguments).await;
    replicas.leader(&scene, None).await;
    let site = async |name: String| Site::new(&scene, &name).await;
    let first = site("before".to_owned()).await;
    first.apply(&first.guide(PRIVATE)).await;
    first.settled().await;
    for snapshot in first.list("Snapshot").await {
        first.ready("Snapshot", &snapshot.name_any()).await;
    }
    let before = marks(&first).await;
    assert_eq!(before.len(), 9, "{before:?}");

    replicas.endure(&scene, site, rounds(2)).await;

    assert_eq!(marks(&first).await, before);
}
