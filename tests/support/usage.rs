//! What a process has used: memory at its peak, and processor time.

use std::fs;
use std::time::Duration;

/// The most memory that a process has had resident so far, in bytes.
pub fn peak_memory(process: u32) -> u64 {
    let status = read(process, "status");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kibibytes: u64 = line
        .and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .expect("the kernel says the peak");
    kibibytes << 10
}

/// The processor time of a process and its threads so far. The kernel counts in hundredths.
pub fn processor_time(process: u32) -> Duration {
    let stat = read(process, "stat");
    // The name may have spaces in it, and ends with the last parenthesis.
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().expect("a number"))
        .sum();
    Duration::from_millis(ticks * 10)
}

fn read(process: u32, file: &str) -> String {
    let path = format!("/proc/{process}/{file}");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}
