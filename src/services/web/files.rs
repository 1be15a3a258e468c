//! The folder of files: a list of them, and each of them to download.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;

use super::answers::Answers;
use super::{Next, Wanted};
use crate::files::{FileError, Found, Listing, Name, Root, clean};
use crate::service::{Answer, Context, FileRange, Lane};
use crate::wire::http::Status;
use crate::wire::http::path::{attachment, decode, encode, escape_html};
use crate::wire::http::request::{Method, Request};
use crate::wire::http::select::{Selection, etag, select};
use crate::wording::counted;

/// How much of a file is brought into the page cache by the job that opens it, so that it
/// can go out at once.
const WARM: u64 = 1024 * 1024;
/// How long an open file is used again. So a file that many ask for is opened once per
/// second, and not once per request.
const STAYS_OPEN: Duration = Duration::from_secs(1);
/// The most files that stay open.
const MOST_OPEN: usize = 64;

/// What jobs have looked up.
#[derive(Debug)]
pub(super) enum Looked {
    List(Result<Bytes, FileError>),
    File(Name, Result<Opened, FileError>),
    /// The job found no place, or failed inside.
    Nothing(String),
}

/// An open file, the beginning of which is in the page cache.
#[derive(Debug, Clone)]
pub(super) struct Opened {
    found: Found,
    etag: String,
    /// Up to here.
    warm: u64,
}

/// The files, and those of them that were opened a moment ago.
#[derive(Debug)]
pub(super) struct Files {
    root: Root,
    open: HashMap<Name, (Instant, Opened)>,
}

impl Opened {
    /// Opens a file, off the loop.
    fn open(root: &Root, name: &Name) -> Result<Opened, FileError> {
        let found = root.open(name)?;
        let end = found.size.min(WARM);
        // What cannot be read will not go out either: that is when it is told.
        let warm = if found.file.warm(0..end).is_ok() { end } else { 0 };
        let modified = found.identity.modified;
        let nanoseconds = i128::from(modified.seconds) * 1_000_000_000 + i128::from(modified.nanoseconds);
        // Before 1970 the sign is in the uppermost bit, which tells it apart as well.
        let etag = etag(found.size, nanoseconds as u128);
        Ok(Opened { found, etag, warm })
    }
}

impl Looked {
    /// The memory that it takes.
    pub fn memory(&self) -> usize {
        match self {
            Looked::List(Ok(html)) => html.len(),
            _ => 0,
        }
    }
}

impl Files {
    pub fn new(root: Root) -> Files {
        Files { root, open: HashMap::new() }
    }

    /// Whether no file is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// How many files are kept open.
    #[cfg(test)]
    pub fn kept_open(&self) -> usize {
        self.open.len()
    }

    /// Closes what was opened too long ago to be used again.
    pub fn forget_old(&mut self, now: Instant) {
        self.open.retain(|_, (since, _)| now < *since + STAYS_OPEN);
    }

    /// A job is done.
    pub fn finished(&mut self, answer: Answer, cx: &mut Context<'_>) -> Looked {
        let result = match answer.result {
            Ok(result) => result,
            Err(error) => return Looked::Nothing(error.to_string()),
        };
        let Ok(looked) = result.downcast::<Looked>() else { return Looked::Nothing(String::new()) };
        if let Looked::File(name, Ok(opened)) = &*looked {
            if self.open.is_empty() {
                cx.set_tick(cx.now() + STAYS_OPEN);
            }
            if self.open.len() >= MOST_OPEN {
                self.forget_old(cx.now());
            }
            if self.open.len() < MOST_OPEN {
                self.open.insert(name.clone(), (cx.now(), opened.clone()));
            }
        }
        *looked
    }

    /// Answers with a page that lists the files.
    pub fn list(
        &self,
        answers: &mut Answers,
        found: Option<Looked>,
        request: &Request<'_>,
        cx: &mut Context<'_>,
    ) -> Next {
        let html = match found {
            Some(Looked::List(Ok(html))) => html,
            Some(Looked::List(Err(error))) => return refuse(answers, &error, request, cx),
            Some(Looked::Nothing(why)) => {
                return answers.error(Status::ServiceUnavailable, &why, request, cx);
            }
            Some(Looked::File(..)) | None => {
                let root = self.root.clone();
                cx.offload(Lane::Read, move || Looked::List(root.list().map(|listing| page(&listing))));
                return Next::Later(Wanted::Job);
            }
        };
        let head = answers.head(Status::Ok, request, cx);
        let head =
            head.header("Content-Type", "text/html; charset=utf-8").header("Cache-Control", "no-cache");
        head.length(html.len() as u64);
        answers.send_long(html, request, cx)
    }

    /// Answers with a file, whose name stands in the URL like this.
    pub fn get(
        &self,
        answers: &mut Answers,
        escaped: &str,
        found: Option<Looked>,
        request: &Request<'_>,
        cx: &mut Context<'_>,
    ) -> Next {
        let Some(text) = decode(escaped) else {
            return answers.error(Status::BadRequest, "the escapes in the URL are not valid", request, cx);
        };
        let name = match clean(&text) {
            Ok(name) if !text.contains(['/', '\\']) => name,
            Ok(_) => return refuse(answers, &FileError::NotFound, request, cx),
            Err(why) => return refuse(answers, &why.into(), request, cx),
        };
        match found {
            Some(Looked::File(of, opened)) if of == name => match opened {
                Ok(opened) => send(answers, &opened, request, cx),
                Err(error) => refuse(answers, &error, request, cx),
            },
            Some(Looked::Nothing(why)) => answers.error(Status::ServiceUnavailable, &why, request, cx),
            _ => match self.open.get(&name) {
                Some((since, opened)) if cx.now() < *since + STAYS_OPEN => send(answers, opened, request, cx),
                _ => {
                    let root = self.root.clone();
                    cx.offload(Lane::Read, move || {
                        let opened = Opened::open(&root, &name);
                        Looked::File(name, opened)
                    });
                    Next::Later(Wanted::Job)
                }
            },
        }
    }
}

fn send(answers: &mut Answers, opened: &Opened, request: &Request<'_>, cx: &mut Context<'_>) -> Next {
    let Opened { found, etag, warm } = opened;
    let selection = select(request, etag, found.size);
    let (status, range) = match &selection {
        Selection::Whole => (Status::Ok, 0..found.size),
        Selection::Part(range) => (Status::PartialContent, range.clone()),
        Selection::NotModified => (Status::NotModified, 0..0),
        Selection::Unsatisfiable => (Status::RangeNotSatisfiable, 0..0),
    };
    let head = answers.head(status, request, cx).header("ETag", etag).header("Cache-Control", "no-cache");
    if selection == Selection::NotModified {
        head.not_modified();
        return answers.send(b"", request, cx);
    }
    let head = head.header("Accept-Ranges", "bytes");
    let head = match &selection {
        Selection::Unsatisfiable => head.content_range(None, found.size),
        Selection::Part(part) => head.content_range(Some(part), found.size),
        _ => head,
    };
    let head = match &selection {
        Selection::Unsatisfiable => head,
        // It is saved and not shown: what somebody has put here is no page of ours.
        _ => head
            .header("Content-Type", "application/octet-stream")
            .header("Content-Disposition", &attachment(found.name.as_str())),
    };
    head.length(range.end - range.start);
    answers.send(b"", request, cx);
    if request.method == Method::Get {
        cx.send_file(FileRange { file: found.file.clone(), range, warm: *warm });
    }
    Next::Answered
}

fn refuse(answers: &mut Answers, error: &FileError, request: &Request<'_>, cx: &mut Context<'_>) -> Next {
    let status = match error {
        FileError::NotFound | FileError::Denied | FileError::BadName(_) => Status::NotFound,
        FileError::Unavailable(_) => Status::ServiceUnavailable,
        _ => Status::InternalServerError,
    };
    answers.error(status, &error.to_string(), request, cx)
}

/// The list as a page. Names may be hostile: in it they are nothing but text.
fn page(listing: &Listing) -> Bytes {
    let mut html = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>onepoll: files</title>\n\
         <link rel=\"icon\" href=\"/icon.svg\">\n<link rel=\"stylesheet\" href=\"/style.css\">\n</head>\n<body>\n\
         <header>\n<h1><a href=\"/\">onepoll</a></h1>\n<p>files</p>\n</header>\n<main class=\"single\">\n<section>\n",
    );
    match listing.files.len() {
        0 => html += "<p class=\"note\">There is no file here yet.</p>\n",
        count => {
            let bytes = listing.files.iter().map(|file| file.size).sum();
            let _ = writeln!(html, "<p class=\"note\">{}, {}</p>", counted(count, "file"), size(bytes));
            html += "<div class=\"scroll\">\n<table>\n<thead>\n<tr><th scope=\"col\">Name</th>\
                     <th scope=\"col\" class=\"number\">Size</th>\
                     <th scope=\"col\" class=\"number wide\">Changed (UTC)</th></tr>\n</thead>\n<tbody>\n";
        }
    }
    for file in &listing.files {
        let (target, name) = (encode(file.name.as_str()), escape_html(file.name.as_str()));
        let changed = Timestamp::from_second(file.modified.seconds).unwrap_or_default();
        // Into a String, which takes everything.
        let _ = writeln!(
            html,
            "<tr><td class=\"name\"><a href=\"/files/{target}\"><bdi>{name}</bdi></a></td>\
             <td class=\"number\" title=\"{} bytes\">{}</td><td class=\"number wide\">{}</td></tr>",
            file.size,
            size(file.size),
            changed.strftime("%Y-%m-%d %H:%M"),
        );
    }
    if !listing.files.is_empty() {
        html += "</tbody>\n</table>\n</div>\n";
    }
    if listing.left_out > 0 {
        let _ = writeln!(html, "<p class=\"note\">{} older files are not shown.</p>", listing.left_out);
    }
    html += "</section>\n</main>\n</body>\n</html>\n";
    html.into()
}

/// A size as people read it.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}
