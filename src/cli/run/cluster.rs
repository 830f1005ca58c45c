//! How `run` speaks to the API server: where it is, how often it is asked, and who may write.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use kube::Client;
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::duration;
use crate::controller::lease::{Gate, LEASE_NAME, Leadership, Terms};
use crate::controller::requests::Counting;
use crate::controller::throttle::Throttle;
use crate::controller::{Selection, instance};
use crate::metrics::Metrics;

/// How long the API server may be silent while an answer is awaited. It answers each request within
/// a minute, and ends each watch that nothing happens in sooner. Whoever is silent for longer is
/// gone, and the connection with him: without this, one that silently died holds its request up
/// for as long as the system sends it again, which is a quarter of an hour.
const LONGEST_SILENCE: Duration = Duration::from_secs(65);

/// Arguments about the API server.
#[derive(Debug, Args)]
pub(super) struct ClusterArguments {
    /// A kubeconfig file; without it KUBECONFIG, or the Pod's own account.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// The namespace of this program, where its Lease and the Secrets of its registry are.
    #[arg(
        long,
        value_name = "NAMESPACE",
        env = "POD_NAMESPACE",
        default_value = "ocm-system",
        alias = "oci-registry-namespace"
    )]
    runtime_namespace: String,

    /// Act only while holding a Lease, so that several of this program can run.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, default_value_t = false,
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    leader_elect: bool,

    /// How long the Lease has to stay unrenewed before somebody else takes it.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    leader_election_lease_duration: Duration,

    /// How long after its last renewal the leader stops acting.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    leader_election_renew_deadline: Duration,

    /// How often the Lease is renewed, or looked at.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    leader_election_retry_period: Duration,

    /// Requests to the API server a second, on average; 0 is no limit.
    #[arg(long, value_name = "RATE", default_value_t = 0.0)]
    kube_api_qps: f64,

    /// How many requests to the API server may come at once, where there is a limit.
    #[arg(long, value_name = "N", default_value_t = 300)]
    kube_api_burst: u32,

    /// Leave out the limit that the two flags before this one set.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, default_value_t = false,
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    kube_api_rate_limiter_disabled: bool,
}

/// What keeps the program from speaking to the API server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to read the kubeconfig")]
    ReadKubeconfig {
        source: kube::config::KubeconfigError,
    },

    #[error("failed to find the cluster: give --kubeconfig, set KUBECONFIG, or run in a Pod")]
    InferConfig {
        source: kube::config::InferConfigError,
    },

    #[error("failed to set up a client")]
    Client { source: Box<kube::Error> },

    #[error(
        "--leader-election-retry-period ({retry_period:?}) has to be below half of \
         --leader-election-renew-deadline ({renew_deadline:?}), and that below \
         --leader-election-lease-duration ({duration:?})"
    )]
    Durations {
        duration: Duration,
        renew_deadline: Duration,
        retry_period: Duration,
    },
}

impl ClusterArguments {
    /// The namespace of this program.
    pub(super) fn namespace(&self) -> &str {
        &self.runtime_namespace
    }

    /// A client for everything but the Lease, and who may write by it.
    pub(super) async fn connect(
        &self,
        selection: &Selection,
        metrics: &Metrics,
    ) -> Result<(Client, Leadership), Error> {
        let config = self.config().await?;
        let failed = |source| Error::Client {
            source: Box::new(source),
        };
        let leadership = if self.leader_elect {
            let terms = self.terms(selection)?;
            let client = Client::try_from(config.clone()).map_err(failed)?;
            // A container that is started again in its Pod is somebody else.
            let identity = format!("{}_{:016x}", instance(), fastrand::u64(..));
            Leadership::by_lease(client, terms, identity)
        } else {
            Leadership::unlimited()
        };
        let rate = if self.kube_api_rate_limiter_disabled {
            0.0
        } else {
            self.kube_api_qps
        };
        let client = ClientBuilder::try_from(config)
            .map_err(failed)?
            .with_layer(&Gate::new(leadership.claim()))
            .with_layer(&Throttle::new(rate, self.kube_api_burst))
            .with_layer(&Counting::new(metrics.clone()))
            .build();
        Ok((client, leadership))
    }

    /// The process stops acting well before anybody else may begin, and tries to renew more than
    /// once before that.
    fn terms(&self, selection: &Selection) -> Result<Terms, Error> {
        let terms = Terms {
            namespace: self.runtime_namespace.clone(),
            name: selection.named(LEASE_NAME),
            duration: self.leader_election_lease_duration,
            renew_deadline: self.leader_election_renew_deadline,
            retry_period: self.leader_election_retry_period,
        };
        let in_order = terms.renew_deadline < terms.duration
            && terms.retry_period < terms.renew_deadline / 2
            && !terms.retry_period.is_zero();
        if in_order {
            Ok(terms)
        } else {
            Err(Error::Durations {
                duration: terms.duration,
                renew_deadline: terms.renew_deadline,
                retry_period: terms.retry_period,
            })
        }
    }

    async fn config(&self) -> Result<kube::Config, Error> {
        let config = match &self.kubeconfig {
            Some(path) => {
                let kubeconfig = Kubeconfig::read_from(path)
                    .map_err(|source| Error::ReadKubeconfig { source })?;
                kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                    .await
                    .map_err(|source| Error::ReadKubeconfig { source })?
            }
            None => kube::Config::infer()
                .await
                .map_err(|source| Error::InferConfig { source })?,
        };
        let config = reached_directly(config, |name| std::env::var(name).ok());
        Ok(bounded(config, LONGEST_SILENCE))
    }
}

/// Gives up who is silent for so long. A connection that was idle before counts from the request.
fn bounded(mut config: kube::Config, silence: Duration) -> kube::Config {
    config.read_timeout = Some(silence);
    config.reset_reader_on_write = true;
    config
}

/// The site's proxy is for registries: the API server is reached without it. kube would take it for
/// both, whatever `NO_PROXY` says; what a kubeconfig says itself is left alone.
fn reached_directly(
    mut config: kube::Config,
    variable: impl Fn(&str) -> Option<String>,
) -> kube::Config {
    let mut named = ["HTTPS_PROXY", "https_proxy"]
        .into_iter()
        .filter_map(variable);
    if named.any(|text| text.parse().ok() == config.proxy_url) {
        config.proxy_url = None;
    }
    config
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Api;
    use kube::api::ListParams;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::time::{Instant, sleep, timeout};

    use super::*;

    /// A server that answers this many requests of a connection, each after `pause`, and then
    /// never again, without closing.
    async fn server(answers: usize, pause: Duration) -> kube::Config {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut request = [0; 4096];
                    let body = r#"{"metadata":{},"items":[]}"#;
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                         Content-Length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    for _ in 0..answers {
                        if socket.read(&mut request).await.unwrap_or_default() == 0 {
                            return;
                        }
                        sleep(pause).await;
                        let _ = socket.write_all(answer.as_bytes()).await;
                    }
                    std::future::pending::<()>().await;
                });
            }
        });
        kube::Config::new(url.parse().unwrap())
    }

    async fn asked(config: kube::Config, pauses: &[Duration]) -> Vec<bool> {
        let api: Api<ConfigMap> = Api::all(Client::try_from(config).unwrap());
        let mut answered = Vec::new();
        for pause in pauses {
            sleep(*pause).await;
            let answer = timeout(Duration::from_secs(20), api.list(&ListParams::default())).await;
            answered.push(answer.expect("nobody waits for ever").is_ok());
        }
        answered
    }

    #[tokio::test]
    async fn f18_request_on_a_connection_that_silently_died_comes_to_an_end() {
        let silence = Duration::from_millis(400);
        let begun = Instant::now();
        let config = bounded(server(1, Duration::ZERO).await, silence);
        let first_then_silence = asked(config, &[Duration::ZERO, Duration::ZERO]).await;
        assert_eq!(first_then_silence, [true, false]);
        assert!(begun.elapsed() >= silence);
        // In time for the liveness probe, together with the silence that a watch may have.
        assert!(LONGEST_SILENCE < Duration::from_secs(70));
    }

    #[tokio::test]
    async fn connection_that_was_idle_is_not_given_up_before_its_next_answer() {
        let silence = Duration::from_secs(2);
        let config = bounded(server(2, Duration::from_millis(900)).await, silence);
        // Idle and answer together take longer than the limit.
        let pauses = [Duration::ZERO, Duration::from_millis(1_500)];
        assert_eq!(asked(config, &pauses).await, [true, true]);
    }

    #[test]
    fn proxy_of_the_environment_is_not_for_the_api_server() {
        let proxy = "http://proxy.example:3128";
        for (named, expected) in [
            (proxy, None),
            ("http://own.example:1", Some("http://own.example:1/")),
        ] {
            let mut config = kube::Config::new("https://api.example:6443".parse().unwrap());
            config.proxy_url = Some(named.parse().unwrap());
            let variable = |name: &str| (name == "HTTPS_PROXY").then(|| proxy.to_owned());
            let config = reached_directly(config, variable);
            let left = config.proxy_url.map(|url| url.to_string());
            assert_eq!(left.as_deref(), expected);
        }
    }
}
