//! The registry that `run` serves: where it is, and how it is guarded.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Error, endpoint, interval, socket};
use crate::controller::lease::Claim;
use crate::controller::{Controllers, EndpointSettings};
use crate::serve::access::Access;
use crate::serve::distribution::{self, Anyone, Authorizer};
use crate::serve::{self, Plain};
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

    /// The namespace of this program, where the registry's certificate and pull key are kept.
    #[arg(
        long,
        value_name = "NAMESPACE",
        env = "POD_NAMESPACE",
        default_value = "ocm-system"
    )]
    oci_registry_namespace: String,

    /// The Secret with the registry's certificate. One that somebody else has made is used as it
    /// is; without one it is made, and changed when two thirds of its life are over.
    #[arg(long, value_name = "NAME", default_value = "ocm-registry-tls-certs")]
    certificate_secret_name: String,

    /// How long a certificate that is made is good. The pull key changes with it.
    #[arg(long, value_name = "DURATION", default_value = "2160h", value_parser = lifetime)]
    registry_certificate_lifetime: Duration,
}

impl ServingArguments {
    /// The address under which Flux reaches the registry.
    pub(super) fn address(&self) -> String {
        self.oci_registry_addr.clone()
    }

    /// Serves the registry, and has `controllers` keep what it needs for that.
    pub(super) async fn serve(
        &self,
        store: Store,
        claim: Claim,
        controllers: Controllers,
        tasks: &mut JoinSet<()>,
        shutdown: &CancellationToken,
    ) -> Result<Controllers, Error> {
        let (flag, address) = ("registry-listen", self.registry_listen);
        let router = |authorizer: Arc<dyn Authorizer>| {
            let router = distribution::router(store, authorizer);
            serve::while_serving(router, move || claim.holds())
        };
        if self.registry_plain_http {
            let router = router(Arc::new(Anyone));
            tasks.spawn(endpoint(flag, address, Plain, router, shutdown.clone()).await?);
            return Ok(controllers);
        }
        let access = Access::default();
        let tls = access.tls().map_err(|source| Error::Tls { source })?;
        let router = router(Arc::new(access.clone()));
        tasks.spawn(endpoint(flag, address, tls, router, shutdown.clone()).await?);
        let settings = EndpointSettings {
            namespace: self.oci_registry_namespace.clone(),
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
