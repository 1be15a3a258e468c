//! How a download ends, and what is said about it.

use std::path::Path;

use onepoll::service::Context;
use onepoll::wire::files::framed::{Sha256, format_sum};

use super::download::{Counted, Dialog, Download};
use crate::client::progress::{Progress, summary};
use crate::client::transfer::{Refusal, shown};

impl Download {
    pub fn refused(&mut self, code: &str, why: &str, cx: &mut Context<'_>) {
        let name = shown(Path::new(self.wanted.name.as_deref().unwrap_or("the list")));
        let Refusal { code, mut sentence } = Refusal::by(&self.server, &name, code, why);
        match (&self.dialog, code.as_str()) {
            (Dialog::Sum, _) => sentence += "; the contents came, but cannot be verified",
            (_, "bad-offset") => {
                sentence += "; the partial file is of another version: get it anew with --force";
                self.part = None;
            }
            _ => {}
        }
        self.fail(Some(&code), sentence, cx);
    }

    pub fn not_understood(&mut self, cx: &mut Context<'_>) {
        let sentence = format!(
            "{} does not answer as a file server does: check the port; --course speaks with the course's servers",
            self.server
        );
        self.break_off(sentence, cx);
    }

    pub fn give_up(&mut self, cx: &mut Context<'_>) {
        if let Some(sentence) = self.failure.take() {
            self.fail(None, sentence, cx);
        }
    }

    pub fn fail(&mut self, code: Option<&str>, mut sentence: String, cx: &mut Context<'_>) {
        let part = self.part.as_deref().filter(|_| self.written > 0);
        if let Some(part) = part {
            sentence += &format!("; what came is in {}, and --resume goes on from it", shown(part));
        }
        self.progress = Progress::none();
        self.report.failed(self.wanted.name.as_deref(), code, &sentence, cx);
        cx.fail(sentence);
    }

    /// What is said if the connection ends now.
    pub fn ended(&self, how: &str) -> String {
        let Download { server, counted: Counted { came, size, .. }, .. } = self;
        match (&self.dialog, size) {
            (Dialog::Contents { .. }, Some(size)) => {
                format!("{server} {how} after {came} of {size} bytes")
            }
            (Dialog::Contents { .. }, None) => format!("{server} {how} after {came} bytes"),
            (Dialog::Sum, _) => format!("{server} {how} before it told the sum"),
            (Dialog::Offer, _) => {
                format!("{server} {how} without sending a file; check what the server itself reports")
            }
            _ => format!("{server} {how} without an answer; check what the server itself reports"),
        }
    }

    pub fn saved(&mut self, sum: &Sha256, cx: &mut Context<'_>) {
        self.progress = Progress::none();
        let Counted { resumed, came, size } = self.counted;
        let time = self.begun.map_or_else(Default::default, |begun| cx.moment().duration_since(begun));
        let name = self.wanted.name.as_deref().unwrap_or_default();
        let path = self.destination(name).map(|to| to.path().to_owned()).unwrap_or_default();
        let members = serde_json::json!({
            "name": name,
            "file": path.to_string_lossy(),
            "bytes": came,
            "resumed_from": resumed,
            "seconds": time.as_secs_f64(),
            "sha256": format_sum(sum),
            "verified": size.is_some(),
        });
        let line = summary("got", &path.to_string_lossy(), came, came - resumed, time);
        self.report.done(&line, members, cx);
        self.completion.stop(cx);
    }
}
