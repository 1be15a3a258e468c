//! `echo`: messages that must come back unchanged.

use clap::Args;
use onepoll::config::parse_size;
use onepoll::service::LARGEST_DATAGRAM;

use crate::stress::arguments::{Common, LoadArgs};
use crate::stress::exchange::{Exchange, Script};
use crate::stress::payload::Payload;
use crate::stress::plan::Plan;
use crate::stress::report::summary::Settings;
use crate::stress::scenario::{Scenario, Shape};

/// The largest message, which bounds what one connection can have in flight.
pub const LARGEST: usize = 16 * 1024 * 1024;

#[derive(Debug, Clone, Args)]
pub struct EchoArgs {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub load: LoadArgs,
    /// Use UDP instead of TCP: one socket per connection; a message without an
    /// answer within --timeout is lost
    #[arg(long)]
    udp: bool,
    /// Size of a message in bytes
    #[arg(long, value_name = "B", default_value = "64", value_parser = parse_size)]
    size: usize,
}

impl Scenario for EchoArgs {
    type Conversation = Exchange;

    fn shape(&self) -> Shape {
        Shape { is_udp: self.udp, ..Shape::kept("echo") }
    }

    fn check(&self, plan: &Plan) -> Result<(), String> {
        check_size(self.size, plan, self.udp)
    }

    fn held(&self, plan: &Plan) -> (usize, usize) {
        (self.size, plan.connections)
    }

    fn describe(&self, settings: &mut Settings) {
        settings.size = Some(self.size);
    }

    fn conversation(&self, plan: &Plan) -> Exchange {
        let script = Script::Echo(Payload::new(self.size, plan.seed));
        Exchange::new(script, plan.connections, self.udp, true)
    }
}

/// Checks that messages of this size can be sent and told apart.
///
/// # Errors
/// A sentence for the user.
pub fn check_size(size: usize, plan: &Plan, udp: bool) -> Result<(), String> {
    let largest = if udp { LARGEST_DATAGRAM } else { LARGEST };
    let (depth, most) = (plan.load.depth(), Payload::numbers(size) / 2);
    if size == 0 || size > largest {
        return Err(format!("--size must be from 1 to {largest} bytes"));
    }
    if depth as u64 > most {
        return Err(format!(
            "messages of {size} B cannot be told apart at --depth {depth}: use at most {most}"
        ));
    }
    Ok(())
}
