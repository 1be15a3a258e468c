//! `connect`: a connection for every message.

use std::time::Duration;

use clap::Args;
use onepoll::config::parse_size;

use super::echo::check_size;
use crate::stress::arguments::{Common, LoadArgs, at_least, rate};
use crate::stress::exchange::{Exchange, Script};
use crate::stress::payload::Payload;
use crate::stress::plan::Plan;
use crate::stress::report::summary::Settings;
use crate::stress::scenario::{Labels, Scenario, Shape, Style};

#[derive(Debug, Clone, Args)]
pub struct ConnectArgs {
    #[command(flatten)]
    pub common: Common,
    /// How long to put the server under load before measuring
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = onepoll::config::parse_duration)]
    warmup: Duration,
    /// Measure this many conversations instead of a period of time
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = at_least::<u64>)]
    messages: Option<u64>,
    /// Start this many conversations per second, on an even schedule
    #[arg(long, value_name = "R", value_parser = rate)]
    rate: Option<f64>,
    /// Size of the message in bytes
    #[arg(long, value_name = "B", default_value = "64", value_parser = parse_size)]
    size: usize,
    /// Close with a reset, which leaves no port in TIME_WAIT
    #[arg(long)]
    reset: bool,
}

impl ConnectArgs {
    pub fn load(&self) -> LoadArgs {
        LoadArgs { warmup: self.warmup, messages: self.messages, depth: Some(1), rate: self.rate }
    }
}

impl Scenario for ConnectArgs {
    type Conversation = Exchange;

    fn shape(&self) -> Shape {
        Shape { style: Style::Churn { reset: self.reset }, ..Shape::kept("connect") }
    }

    fn check(&self, plan: &Plan) -> Result<(), String> {
        check_size(self.size, plan, false)
    }

    fn held(&self, plan: &Plan) -> (usize, usize) {
        (self.size, plan.connections)
    }

    fn describe(&self, settings: &mut Settings) {
        settings.labels = Labels { service: "conversation", ..Labels::default() };
        settings.size = Some(self.size);
        settings.reset = Some(self.reset);
    }

    fn conversation(&self, plan: &Plan) -> Exchange {
        Exchange::new(Script::Echo(Payload::new(self.size, plan.seed)), plan.connections, false, false)
    }
}
