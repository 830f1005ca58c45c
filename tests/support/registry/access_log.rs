//! What a registry was asked for, from its access log.

use crate::support::web;

/// One request that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The HTTP method.
    pub method: String,
    /// The path and the query.
    pub path: String,
    /// The HTTP status.
    pub status: u16,
    /// The program that asked.
    pub user_agent: String,
}

/// Reads lines in Apache's combined format and leaves out what the harness itself has asked:
/// `127.0.0.1 - - [TIME] "METHOD PATH PROTOCOL" STATUS SIZE "REFERRER" "USER AGENT"`.
pub fn read(log: &str) -> Vec<Access> {
    log.lines()
        .filter_map(parse)
        .filter(|access| access.user_agent != web::USER_AGENT)
        .collect()
}

fn parse(line: &str) -> Option<Access> {
    let mut quoted = line.split('"');
    let _client_and_time = quoted.next()?;
    let mut request = quoted.next()?.split(' ');
    let (method, path) = (request.next()?, request.next()?);
    let status = quoted.next()?.split_whitespace().next()?.parse().ok()?;
    let _referrer = quoted.next()?;
    let _space = quoted.next()?;
    let user_agent = quoted.next()?;
    Some(Access {
        method: method.to_owned(),
        path: path.to_owned(),
        status,
        user_agent: user_agent.to_owned(),
    })
}

#[test]
fn access_log_line_is_read_and_other_lines_are_passed_over() {
    let log = "time=\"2026-01-01\" level=warning msg=\"no HTTP secret\"\n\
        127.0.0.1 - - [01/Jan/2026:00:00:00 +0000] \"GET /v2/a/b/manifests/1.0 HTTP/1.1\" 404 96 \
        \"\" \"some-client/1\"\n";
    let access = Access {
        method: "GET".to_owned(),
        path: "/v2/a/b/manifests/1.0".to_owned(),
        status: 404,
        user_agent: "some-client/1".to_owned(),
    };
    assert_eq!(read(log), [access]);
}
