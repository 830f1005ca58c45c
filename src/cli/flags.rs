//! Flags of the Go ocm-controller that have no meaning here: accepted, so that a Deployment can
//! be moved over as it is, and named once in the log.

/// The flag's name, and whether it takes a value of its own (`--flag VALUE`).
const IGNORED: &[(&str, bool)] = &[
    ("events-addr", true),
    ("oci-registry-insecure-skip-verify", false),
    ("pprof-bind-address", true),
    ("zap-devel", false),
    ("zap-encoder", true),
    ("zap-log-level", true),
    ("zap-stacktrace-level", true),
    ("zap-time-encoding", true),
];

/// What `ocm transfer` calls component versions.
const COMPONENTS: [&str; 8] = [
    "component",
    "components",
    "comp",
    "c",
    "componentversion",
    "componentversions",
    "cv",
    "component-version",
];

/// Splits `arguments` into those for us, with single dashes doubled as Go's flag package allows,
/// and the names of those that are ignored. Flags without a command mean `run`, as they do for the
/// original's image.
pub(super) fn sort(
    arguments: impl IntoIterator<Item = String>,
) -> (Vec<String>, Vec<&'static str>) {
    let (mut kept, mut ignored) = (Vec::new(), Vec::new());
    let mut arguments = arguments.into_iter().peekable();
    kept.extend(arguments.next());
    let about_the_program = ["-h", "--help", "-V", "--version"];
    if arguments
        .peek()
        .is_some_and(|first| first.starts_with('-') && !about_the_program.contains(&first.as_str()))
    {
        kept.push("run".to_owned());
    }
    // The `ocm` command line says what it transfers; here it is component versions only.
    if arguments
        .peek()
        .is_some_and(|command| command == "transfer")
    {
        kept.extend(arguments.next());
        arguments.next_if(|word| COMPONENTS.contains(&word.as_str()));
    }
    while let Some(argument) = arguments.next() {
        let Some((name, has_value)) = flag(&argument) else {
            kept.push(argument);
            continue;
        };
        match IGNORED.iter().find(|(known, _)| *known == name) {
            Some((known, takes_value)) => {
                ignored.push(*known);
                if *takes_value && !has_value {
                    arguments.next_if(|next| !next.starts_with('-'));
                }
            }
            None if argument.starts_with("--") => kept.push(argument),
            None => kept.push(format!("-{argument}")),
        }
    }
    (kept, ignored)
}

/// The name of a long flag with one dash or two, and whether it carries its value by `=`.
fn flag(argument: &str) -> Option<(&str, bool)> {
    let name = argument
        .strip_prefix("--")
        .or_else(|| argument.strip_prefix('-'))?;
    let (name, has_value) = name
        .split_once('=')
        .map_or((name, false), |(name, _)| (name, true));
    (name.len() > 1).then_some((name, has_value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(arguments: &[&str]) -> (Vec<String>, Vec<&'static str>) {
        sort(arguments.iter().map(|argument| (*argument).to_owned()))
    }

    #[test]
    fn arguments_of_the_original_chart_are_accepted() {
        let (kept, ignored) = sorted(&[
            "ocm-controller",
            "run",
            "--zap-log-level=4",
            "--leader-elect",
            "--oci-registry-addr=registry:5000",
            "--zap-encoder",
            "json",
            "-h",
        ]);
        assert_eq!(
            kept,
            [
                "ocm-controller",
                "run",
                "--leader-elect",
                "--oci-registry-addr=registry:5000",
                "-h"
            ]
        );
        assert_eq!(ignored, ["zap-log-level", "zap-encoder"]);
    }

    #[test]
    fn flags_without_a_command_mean_run() {
        let (kept, ignored) = sorted(&["/manager", "--zap-devel", "--concurrent=2"]);
        assert_eq!(kept, ["/manager", "run", "--concurrent=2"]);
        assert_eq!(ignored, ["zap-devel"]);
        assert_eq!(
            sorted(&["/manager", "--version"]).0,
            ["/manager", "--version"]
        );
    }

    #[test]
    fn single_dash_means_the_same_as_two() {
        let (kept, _) = sorted(&["ocm-controller", "run", "-oci-registry-addr=registry:5000"]);
        assert_eq!(kept[2], "--oci-registry-addr=registry:5000");
    }

    #[test]
    fn command_of_the_guide_is_accepted_word_for_word() {
        for word in ["component", "cv", "components"] {
            let (kept, _) = sorted(&[
                "ocm-controller",
                "transfer",
                word,
                "--copy-resources",
                "ghcr.io/phoban01//phoban.io/podinfo",
                "ghcr.io/phoban01/air-gapped",
            ]);
            let expected = [
                "ocm-controller",
                "transfer",
                "--copy-resources",
                "ghcr.io/phoban01//phoban.io/podinfo",
                "ghcr.io/phoban01/air-gapped",
            ];
            assert_eq!(kept, expected);
        }
        let (kept, _) = sorted(&["ocm-controller", "crds", "component"]);
        assert_eq!(kept, ["ocm-controller", "crds", "component"]);
    }
}
