//! The registry that Flux pulls from: the one that `run` serves, and how it is guarded, or another.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Error, endpoint, interval, socket};
use crate::controller::lease::Claim;
use crate::controller::{Controllers, EndpointSettings, OutsideRegistry};
use crate::publish::Remote;
use crate::registry::{Pool, RepositoryUrl, Transport};
use crate::serve::access::Access;
use crate::serve::distribution::{self, Anyone, Authorizer};
use crate::serve::{self, Plain, Refusals};
use crate::store::Store;

/// The shortest life of a certificate; so short only for tests.
const SHORTEST_LIFE: Duration = Duration::from_secs(15);

/// Arguments about the registry.
#[derive(Debug, Args)]
pub(super) struct ServingArguments {
    /// The address under which Flux reaches this program's registry.
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "OCI_REGISTRY_LOCALHOST",
        default_value = "registry.ocm-system.svc.cluster.local:5000"
    )]
    oci_registry_addr: String,

    /// Where this program's registry listens.
    #[arg(long, value_name = "[ADDRESS]:PORT", default_value = ":5000", value_parser = socket)]
    registry_listen: SocketAddr,

    /// Serve snapshots by plain HTTP and without a password (for tests).
    #[arg(long)]
    registry_plain_http: bool,

    /// The Secret with the registry's certificate. One that somebody else has made is used as it
    /// is; without one it is made, and changed when two thirds of its life are over.
    #[arg(long, value_name = "NAME", default_value = "ocm-registry-tls-certs")]
    certificate_secret_name: String,

    /// How long a certificate that is made is good. The pull key changes with it.
    #[arg(long, value_name = "DURATION", default_value = "2160h", value_parser = lifetime)]
    registry_certificate_lifetime: Duration,

    /// Push snapshots to this registry, and let Flux pull them from there. Plain HTTP only where it
    /// begins with http://.
    #[arg(long, value_name = "oci://HOST[:PORT]/PREFIX")]
    registry: Option<RepositoryUrl>,

    /// Docker config JSON file with the password to push with, such as a mounted Secret. Read anew
    /// for each use.
    #[arg(long, value_name = "FILE", requires = "registry")]
    registry_credentials: Option<PathBuf>,

    /// Secret (kubernetes.io/dockerconfigjson) of this program's namespace with the password that
    /// Flux pulls with; the namespace of each FluxDeployer gets a copy.
    #[arg(long, value_name = "NAME", requires = "registry")]
    registry_pull_secret: Option<String>,

    /// Secret of this program's namespace with the authority (ca.crt) that Flux trusts; the
    /// namespace of each FluxDeployer gets a copy.
    #[arg(long, value_name = "NAME", requires = "registry")]
    registry_ca_secret: Option<String>,
}

/// What the registry serves, and to whom it tells.
pub(super) struct Served<'a> {
    /// The namespace of this program.
    pub(super) namespace: &'a str,
    pub(super) store: Store,
    /// Nothing is served while it does not hold.
    pub(super) claim: Claim,
    pub(super) refusals: Arc<Refusals>,
}

impl ServingArguments {
    /// The address under which Flux reaches the registry.
    pub(super) fn address(&self) -> String {
        self.oci_registry_addr.clone()
    }

    /// The other registry that Flux pulls from, if there is one.
    pub(super) fn outside(&self, namespace: &str) -> Option<OutsideRegistry> {
        self.registry.clone().map(|url| OutsideRegistry {
            url,
            namespace: namespace.to_owned(),
            pull_secret: self.registry_pull_secret.clone(),
            ca_secret: self.registry_ca_secret.clone(),
        })
    }

    /// Pushes to that registry what is in `store`.
    pub(super) fn remote(&self, store: &Store, transport: &Transport) -> Option<Remote> {
        let url = self.registry.clone()?;
        let credentials = self.registry_credentials.clone();
        let pool = Pool::new(transport.clone());
        Some(Remote::new(store.clone(), pool, url, credentials))
    }

    /// Where the registry of this program can be dialled from here, if it serves one.
    pub(super) fn served_at(&self) -> Option<SocketAddr> {
        if self.registry.is_some() {
            return None;
        }
        let mut address = self.registry_listen;
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        Some(address)
    }

    /// Serves the registry, and has `controllers` keep what it needs for that. Does nothing where
    /// Flux pulls from another one.
    pub(super) async fn serve(
        &self,
        served: Served<'_>,
        controllers: Controllers,
        tasks: &mut JoinSet<()>,
        shutdown: &CancellationToken,
    ) -> Result<Controllers, Error> {
        if self.registry.is_some() {
            return Ok(controllers);
        }
        let Served {
            namespace,
            store,
            claim,
            refusals,
        } = served;
        let (flag, address) = ("registry-listen", self.registry_listen);
        let router = |authorizer: Arc<dyn Authorizer>| {
            let router = distribution::router(store, authorizer);
            serve::while_serving(router, move || claim.holds())
        };
        if self.registry_plain_http {
            let router = router(Arc::new(Anyone));
            tasks.spawn(endpoint(flag, address, Plain, router, refusals, shutdown.clone()).await?);
            return Ok(controllers);
        }
        let access = Access::default();
        let tls = access.tls().map_err(|source| Error::Tls { source })?;
        let router = router(Arc::new(access.clone()));
        tasks.spawn(endpoint(flag, address, tls, router, refusals, shutdown.clone()).await?);
        let settings = EndpointSettings {
            namespace: namespace.to_owned(),
            certificate_secret: self.certificate_secret_name.clone(),
            address: self.oci_registry_addr.clone(),
            life: self.registry_certificate_lifetime,
        };
        Ok(controllers.guarding(settings, access))
    }
}

/// A life in which a certificate can be changed in time.
fn lifetime(text: &str) -> Result<Duration, String> {
    interval(text)
        .ok()
        .filter(|life| *life >= SHORTEST_LIFE)
        .ok_or_else(|| format!("{text:?} is not a time of 15 seconds or more, such as 2160h"))
}
