//! `make demo`: the guide from the first command to the last, on a cluster of its own.
//!
//! Everything is real but the machines: a Kubernetes control plane, Flux, a private registry that
//! answers as `ghcr.io`, a Git server, and the built `ocm-controller`, all on loopback. What is
//! printed behind a `$` is run as it stands there.

#[path = "../support/mod.rs"]
mod support;

mod chain;
mod shell;
mod stage;

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::time::Instant;

use ocm_controller::chain::chain as with_causes;
use tokio::signal::unix::{SignalKind, signal};

use crate::chain::Chain;
use crate::shell::{Shell, say};
use crate::stage::Stage;
use crate::support::in_repository;

/// What the guide ends with.
const IMAGE: &str = "ghcr.io/phoban01/air-gapped/stefanprodan/podinfo:6.3.5";

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("`{line}` failed ({status})")]
    Run {
        line: String,
        status: std::process::ExitStatus,
    },

    #[error("failed to watch {kind}")]
    Watch {
        kind: &'static str,
        source: Box<kube::runtime::watcher::Error>,
    },

    #[error("not everything is ready after {seconds} s; still awaited: {awaited}")]
    Wait { seconds: u64, awaited: String },

    #[error("the Deployment does not have image {IMAGE} but {printed:?}")]
    OtherImage { printed: String },
}

type Result<T, E = Error> = std::result::Result<T, E>;

#[tokio::main]
async fn main() -> ExitCode {
    let keep = std::env::args().any(|argument| argument == "--keep");
    let begun = Instant::now();
    let stage = tokio::select! {
        told = present(begun) => match told {
            Ok(stage) => stage,
            Err(error) => {
                say(&format!("\ndemo: {}", with_causes(&error)));
                return ExitCode::FAILURE;
            }
        },
        () = interrupted() => {
            say("\nStopped; everything is cleaned up.");
            return ExitCode::FAILURE;
        }
    };
    if keep {
        stay(&stage).await;
    }
    drop(stage);
    say(&format!(
        "\nDone in {:.0} s; everything is cleaned up.{}",
        begun.elapsed().as_secs_f32(),
        if keep {
            ""
        } else {
            " `make demo KEEP=1` leaves it running."
        }
    ));
    ExitCode::SUCCESS
}

/// Sets the stage and tells the guide's story on it.
async fn present(begun: Instant) -> Result<Stage> {
    say("Air-gapped GitOps with OCM and Flux, on a cluster of its own\n");
    say("Starting Kubernetes, Flux, a private registry that answers as ghcr.io, a Git server");
    say("and ocm-controller ...");
    let stage = Stage::start().await;
    say(&format!(
        "... all are ready after {:.1} s. The registry holds the public component\n\
         phoban.io/podinfo and its images; its private part is still empty.\n",
        begun.elapsed().as_secs_f32()
    ));
    match tell(&stage).await {
        Ok(()) => Ok(stage),
        Err(error) => {
            say(&stage.end_of_log());
            Err(error)
        }
    }
}

/// The guide's commands in their order.
async fn tell(stage: &Stage) -> Result<()> {
    let mut shell = stage.shell();
    say("# The component goes into the private registry, with its resources");
    shell
        .run(
            "ocm-controller transfer component --copy-resources \
             ghcr.io/phoban01//phoban.io/podinfo $AIR_GAPPED_REGISTRY",
        )
        .await?;

    say("\n# The credentials of the private registry, as the guide makes them");
    shell
        .run(
            "kubectl create secret docker-registry -n ocm-system ghcr-cred \
             --docker-server=ghcr.io --docker-username=$GITHUB_USER --docker-password=$GITHUB_TOKEN",
        )
        .await?;

    say("\n# The guide's manifests go into the repository that Flux follows");
    let clone = format!("git clone --quiet {} gitops", stage.git.url());
    shell.run(&clone).await?;
    shell.enter("gitops");
    let components = in_repository("examples/air-gapped/components");
    shell
        .run(&format!("cp -r {} .", components.display()))
        .await?;
    shell.run("ls components").await?;
    shell.run("git add ./components").await?;
    shell
        .run("git commit --quiet -m 'move to air-gapped repository'")
        .await?;
    shell.run("git push --quiet").await?;

    let chain = Chain::find(&stage.cluster).await;
    say("\n# What `flux reconcile source git flux-system` does");
    reconcile_source(&shell).await?;

    say("\n# Each change of the chain as it happens");
    chain.follow().await?;

    say("\n# The chain as kubectl shows it");
    shell.run("kubectl get -n ocm-system componentversions,resources.delivery.ocm.software,localizations,snapshots,fluxdeployers").await?;
    say("\n# The image comes from the private registry");
    let printed = shell
        .run("kubectl get deployment -n default podinfo -oyaml | grep image | xargs")
        .await?;
    if printed.contains(&format!("image: {IMAGE} ")) {
        go_on(&mut shell).await
    } else {
        Err(Error::OtherImage { printed })
    }
}

/// What the guide leaves to be continued: the pods get credentials to pull with.
async fn go_on(shell: &mut Shell) -> Result<()> {
    say("\n# To be continued: the pods' own Secret, and a patch that gives it to each Deployment");
    shell
        .run(
            "kubectl create secret docker-registry -n default ghcr-cred \
             --docker-server=ghcr.io --docker-username=$GITHUB_USER --docker-password=$GITHUB_TOKEN",
        )
        .await?;
    let deployer = in_repository("examples/air-gapped/pull/deployer.yaml");
    shell
        .run(&format!("cp {} components/", deployer.display()))
        .await?;
    shell
        .run("git commit --quiet --all -m 'let the pods pull'")
        .await?;
    shell.run("git push --quiet").await?;
    reconcile_source(shell).await?;
    shell
        .run(
            "kubectl wait -n default deployment/podinfo --timeout=1m \
             --for='jsonpath={.spec.template.spec.imagePullSecrets[0].name}=ghcr-cred'",
        )
        .await?;
    Ok(())
}

/// What `flux reconcile source git flux-system` does.
async fn reconcile_source(shell: &Shell) -> Result<()> {
    let now = k8s_openapi::jiff::Timestamp::now();
    shell
        .run(&format!(
            "kubectl annotate --overwrite -n flux-system gitrepository/flux-system \
             reconcile.fluxcd.io/requestedAt={now}"
        ))
        .await?;
    Ok(())
}

/// Says how everything is reached and leaves it running until Enter or a signal.
async fn stay(stage: &Stage) {
    say(&stage.directions());
    if io::stdin().is_terminal() {
        say("\nPress Enter or Ctrl-C to end it.");
        let (sender, enter) = tokio::sync::oneshot::channel();
        // Detached: a read of the terminal cannot be taken back.
        std::thread::spawn(move || {
            // Where the terminal is gone, so is the person.
            let _ = io::stdin().read_line(&mut String::new());
            let _ = sender.send(());
        });
        tokio::select! {
            _ = enter => {}
            () = interrupted() => {}
        }
    } else {
        say(&format!("\nkill {} ends it.", std::process::id()));
        interrupted().await;
    }
}

/// Ctrl-C and SIGTERM; what is running ends when its owner is dropped.
async fn interrupted() {
    let mut terminate = signal(SignalKind::terminate()).expect("signals can be listened for");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
