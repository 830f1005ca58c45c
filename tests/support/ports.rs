//! Free ports on loopback.
//!
//! A port from the kernel's own range (bind to 0, close, use it later) can be taken meanwhile by
//! any outgoing connection, above all while a stopped server is to come back on it. So ports are
//! taken from below that range, and each test process has a block of them to itself.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{LazyLock, Mutex, PoisonError};

const FIRST: u16 = 20_000;
const BLOCKS: u16 = 24;
const BLOCK_SIZE: u16 = 500;

struct Block {
    // Bound for as long as the process lives: by this port others see that the block is taken.
    guard: TcpListener,
    next: u16,
}

static BLOCK: LazyLock<Mutex<Block>> = LazyLock::new(|| {
    let guard = (0..BLOCKS)
        .find_map(|block| bind(FIRST + block * BLOCK_SIZE))
        .expect("a block of free ports between 20000 and 32000 on 127.0.0.1");
    Mutex::new(Block { guard, next: 1 })
});

/// An address on 127.0.0.1 that nothing listens on and that no later call gives out soon.
pub fn free() -> SocketAddr {
    let mut block = BLOCK.lock().unwrap_or_else(PoisonError::into_inner);
    let first = block.guard.local_addr().expect("the guard is bound").port();
    for _ in 1..BLOCK_SIZE {
        let port = first + block.next;
        block.next = block.next % (BLOCK_SIZE - 1) + 1;
        if bind(port).is_some() {
            return SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        }
    }
    panic!(
        "no free port on 127.0.0.1 between {first} and {}",
        first + BLOCK_SIZE
    );
}

fn bind(port: u16) -> Option<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()
}
