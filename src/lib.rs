//! onepoll: non-blocking sockets on one thread and one [`mio::Poll`].
//!
//! Every service of a socket-programming course runs in one daemon, each as a
//! state machine that knows neither socket nor clock. What the daemon is made
//! of is here to be used, and to be read:
//!
//! ```text
//!        kernel                 reactor                      service
//!   ┌─────────────┐     ┌───────────────────────┐     ┌──────────────────┐
//!   │ sockets     │────▶│ Poll ─▶ latch ─▶ ready│     │                  │
//!   │             │     │                 queue │     │                  │
//!   │             │ read│                   │   │bytes│                  │
//!   │             │────▶│ one shared buffer ◀┘  │────▶│ receive(session, │
//!   │             │     │                       │ now │   input, cx)     │
//!   │             │write│                       │     │                  │
//!   │             │◀────│ effects, after the    │◀────│ cx.send, close,  │
//!   │             │     │ callback              │     │ publish, …       │
//!   │             │     │   │ refused  │ rooms  │     └──────────────────┘
//!   │             │     │   ▼          ▼        │
//!   │             │◀────│ outbox     fan-out at │
//!   │             │     │            turn's end │
//!   └─────────────┘     └───────────────────────┘
//! ```
//!
//! In reading order:
//!
//! 1. The `examples`, from a blocking echo server to the reactor.
//! 2. [`selectors`]: Python's `selectors` and `select`, and how level-triggered
//!    readiness is made of edge-triggered.
//! 3. [`service`]: the seam. A protocol is a [`Service`](service::Service); what
//!    it may know and ask for is its [`Context`](service::Context).
//! 4. [`reactor`]: the loop. [`Reactor::turn`](reactor::Reactor::turn) is all of
//!    it, on one screen.
//! 5. [`wire`]: messages in a byte stream.
//! 6. [`services`]: the protocols, and `rehearsal`, which tests them in memory.
//! 7. [`config`]: what is served, and where; [`hosting`] gives it to the reactor.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod config;
pub mod hosting;
pub mod interfaces;
pub mod reactor;
#[cfg(feature = "simulated")]
pub mod rehearsal;
pub mod selectors;
pub mod service;
pub mod services;
#[cfg(feature = "simulated")]
pub mod simulation;
mod system;
pub mod wire;
pub mod wording;
