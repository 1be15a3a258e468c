//! `idle`: connections that say nothing.

use std::time::Duration;

use clap::Args;

use crate::stress::arguments::Common;
use crate::stress::exchange::{Exchange, Script};
use crate::stress::plan::Plan;
use crate::stress::report::summary::Settings;
use crate::stress::scenario::{Scenario, Shape, Style};

#[derive(Debug, Clone, Args)]
pub struct IdleArgs {
    #[command(flatten)]
    pub common: Common,
}

impl Scenario for IdleArgs {
    type Conversation = Exchange;

    fn shape(&self) -> Shape {
        Shape { name: "idle", is_udp: false, style: Style::Held, may_overlap: false, settle: Duration::ZERO }
    }

    fn check(&self, _: &Plan) -> Result<(), String> {
        Ok(())
    }

    fn held(&self, _: &Plan) -> (usize, usize) {
        (0, 0)
    }

    fn describe(&self, _: &mut Settings) {}

    fn conversation(&self, plan: &Plan) -> Exchange {
        Exchange::new(Script::Silence, plan.connections, false, true)
    }
}
