//! onepoll: non-blocking sockets on one thread and one [`mio::Poll`].
//!
//! One daemon runs every service of a socket-programming course, each as a state
//! machine without a socket or a clock. Its parts are here to be read, and to be used
//! as a library. This is the way of one message:
//!
//! ```text
//!        system/                reactor/                    services/
//!   ┌──────────────┐     ┌────────────────────────┐     ┌──────────────────┐
//!   │ Poll: events │────▶│ latch ──▶ ready queue  │     │                  │
//!   │              │     │                │       │     │                  │
//!   │ tcp and udp  │read │                ▼       │bytes│                  │
//!   │ sockets      │────▶│ one shared buffer      │────▶│ receive(session, │
//!   │              │     │                        │ now │   input, cx)     │
//!   │              │write│                        │     │                  │
//!   │              │◀────│ effects, carried out   │◀────│ cx.send, close,  │
//!   │              │     │ after the callback     │     │ publish, …       │
//!   │              │     │   │ refused   │ rooms  │     └──────────────────┘
//!   │              │     │   ▼           ▼        │
//!   │              │◀────│ outbox     fan-out at  │
//!   │              │     │            turn's end  │
//!   └──────────────┘     └────────────────────────┘
//!   the kernel, or a      the loop: tcp/, udp/,        service/ is the seam
//!   world in memory       time/ and dispatch/          between the two
//! ```
//!
//! In reading order:
//!
//! 1. The `examples`, from a blocking echo server to the reactor.
//! 2. [`selectors`]: Python's `selectors` and `select`, and how level-triggered
//!    readiness is made of edge-triggered.
//! 3. [`service`]: the seam. A protocol is a [`Service`](service::Service), and its
//!    [`Context`](service::Context) is everything that it can know and ask for.
//! 4. [`reactor`]: the loop. [`Reactor::turn`](reactor::Reactor::turn) is the whole
//!    of it on one screen. Around it, `tcp/` and `udp/` serve sockets, `time/` keeps
//!    the deadlines, and `dispatch/` calls the services and carries out their
//!    effects. `ending` has the states of a connection, drawn.
//! 5. `system`: what the loop runs on, the kernel or a simulated world; and [`disk`], the
//!    files that it sends.
//! 6. [`wire`]: finds messages in a byte stream.
//!    [`media`] makes and converts the pictures of the video services.
//! 7. [`services`]: one file per service, and the catalog. Begin with
//!    [`echo`](services::echo).
//! 8. [`files`]: what services do with files, from jobs off the loop; [`disk`] below it
//!    is the kernel's file system, or one in memory that fails.
//! 9. [`config`]: from a file to the services that it asks for; [`hosting`] gives
//!    them to the reactor.
//! 10. With the feature `simulated`: `rehearsal`, which tests one service on the real
//!     loop in memory, and `simulation`, which tests the whole daemon from a seed.
//!
//! The `onepoll` command, its clients and its load generator use the library as any
//! other program would.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod config;
pub mod disk;
pub mod files;
pub mod hosting;
pub mod interfaces;
pub mod media;
pub mod reactor;
#[cfg(feature = "simulated")]
pub mod rehearsal;
#[cfg(feature = "simulated")]
mod rng;
pub mod selectors;
pub mod service;
pub mod services;
#[cfg(feature = "simulated")]
pub mod simulation;
mod system;
pub mod wire;
pub mod wording;
