//! The course mode: a name, a pause, the contents, the end.
//!
//! The course's client receives the name with one `recv`, and the pause keeps the contents
//! out of it.

use super::download::{Download, Opened};
use super::{FileService, Talk};
use crate::files::{FileError, Name, Root, clean};
use crate::service::{Answer, CloseReason, Context, Lane};
use crate::services::transfers::{Transfer, Way};

/// How much of a first input can be a name.
const LONGEST_ASKED: usize = 1024;

/// How far a download is.
#[derive(Debug)]
pub(super) enum Course {
    /// A job looks for a file.
    Looking { asked: Vec<u8> },
    /// The name is out, and the contents will follow.
    Pausing { opened: Opened, transfer: Transfer },
    /// The contents go out.
    Sending(Download),
    /// There is nothing more to send.
    Over,
}

/// What the job has found; nothing if there is no file at all.
struct Offered(Result<Option<Opened>, FileError>);

impl Course {
    /// Looks for the file that the first input names, or for the one to offer instead.
    pub fn begin(service: &FileService, first: &[u8], cx: &mut Context<'_>) -> Course {
        let asked = first[..first.len().min(LONGEST_ASKED)].trim_ascii().to_vec();
        let (root, offer, name) = (service.root.clone(), service.offer.clone(), clean(&asked).ok());
        cx.offload(Lane::Read, move || Offered(choose(&root, name, offer)));
        Course::Looking { asked }
    }

    /// The job is done: sends the name.
    pub fn finished(&mut self, service: &FileService, talk: &mut Talk, answer: Answer, cx: &mut Context<'_>) {
        let Course::Looking { asked } = std::mem::replace(self, Course::Over) else { return };
        let offered = match answer.result.map(|result| result.downcast::<Offered>()) {
            Ok(Ok(offered)) => offered.0.map_err(|error| error.to_string()),
            Ok(Err(_)) => return,
            Err(error) => Err(error.to_string()),
        };
        let offered = offered.and_then(|found| found.ok_or("there is no file to offer".to_owned()));
        let opened = match offered {
            Ok(opened) => opened,
            Err(why) => {
                Transfer::begin(&asked, cx).refused(&why, cx);
                return cx.close();
            }
        };
        let name = opened.found.name.as_str();
        let transfer = Transfer::begin(name, cx);
        talk.send(name.as_bytes(), cx);
        if service.name_gap.is_zero() {
            *self = Course::Sending(Download::begin(opened, transfer, talk.queued, cx));
        } else {
            *self = Course::Pausing { opened, transfer };
            cx.set_deadline_after(service.name_gap);
        }
    }

    /// The pause is over: sends the contents.
    pub fn timeout(&mut self, talk: &Talk, cx: &mut Context<'_>) {
        match std::mem::replace(self, Course::Over) {
            Course::Pausing { opened, transfer } => {
                *self = Course::Sending(Download::begin(opened, transfer, talk.queued, cx));
            }
            other => *self = other,
        }
    }

    /// All of it is out.
    pub fn room_to_send(&mut self, service: &FileService, cx: &mut Context<'_>) {
        if let Course::Sending(download) = std::mem::replace(self, Course::Over) {
            download.complete(&service.name, cx);
            cx.close();
        }
    }

    /// The connection is gone.
    pub fn closed(self, service: &FileService, why: &CloseReason, cx: &Context<'_>) {
        match self {
            Course::Sending(download) => download.closed(&service.name, why, cx),
            Course::Pausing { opened, transfer } => {
                let done = (0, Some(opened.found.size));
                transfer.broken(&service.name, Way::Out, done, &why.to_string(), cx.now());
            }
            Course::Looking { .. } | Course::Over => {}
        }
    }
}

/// The file that was asked for, or the one that is to be offered, or the newest.
fn choose(root: &Root, asked: Option<Name>, offer: Option<Name>) -> Result<Option<Opened>, FileError> {
    if let Some(name) = asked
        && let Ok(opened) = Opened::open(root, &name, 0)
    {
        return Ok(Some(opened));
    }
    match offer {
        Some(name) => Opened::open(root, &name, 0).map(Some),
        None => Ok(root.newest()?.map(|found| Opened::new(found, 0))),
    }
}
