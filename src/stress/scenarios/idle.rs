//! `idle`: connections that say nothing.

use clap::Args;

use crate::stress::arguments::Common;
use crate::stress::exchange::{Exchange, Script};
use crate::stress::plan::Plan;
use crate::stress::scenario::{Scenario, Shape, Style};

#[derive(Debug, Clone, Args)]
pub struct IdleArgs {
    #[command(flatten)]
    pub common: Common,
}

impl Scenario for IdleArgs {
    type Conversation = Exchange;

    fn shape(&self) -> Shape {
        Shape { style: Style::Held, ..Shape::kept("idle") }
    }

    fn conversation(&self, plan: &Plan) -> Exchange {
        Exchange::new(Script::Silence, plan.connections, false, true)
    }
}
