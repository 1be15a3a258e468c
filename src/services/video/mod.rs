//! video: shows the frames of one publisher, or of a source of its own, to everyone who
//! looks.
//!
//! - [`hub`](self): the state machine, and the service.
//! - `screen`: the newest frame in the forms that somebody wants; `material`: how one form
//!   is made of another.
//! - `publisher`: who sends frames; `source`: where they come from otherwise.
//! - `recording`: the frames in MP4 files.
//! - [`frames`]: what the service and those that show its picture say to each other.

pub mod frames;
mod hub;
mod material;
mod publisher;
mod recording;
mod screen;
mod source;

use crate::config::values::{self, Read, Toml};
use crate::config::{Description, Key, Plan, Settings, Value, files};
use crate::files::{Name, clean};

use frames::Form;
pub use hub::Video;
use hub::{Setup, Source};
pub use publisher::Session;
use recording::Recorder;
use source::{Player, Upstream};

/// What the catalog says about it.
pub static DESCRIPTION: Description = Description {
    name: "video",
    about: "shows the frames of one publisher to every viewer, or a picture of its own",
    notes: "Whoever connects is a viewer; whoever sends frames, over TCP or UDP, is the publisher.",
    tcp: Some(9505),
    udp: Some(9505),
    keys: &[
        SOURCE,
        ENCODING,
        FPS,
        WIDTH,
        HEIGHT,
        QUALITY,
        FRAME_SIZE,
        RECORD,
        files::ROOT,
        MAX_FILE_SIZE,
        files::MAX_TOTAL_SIZE,
        files::MAX_FILES,
    ],
    plan,
};

const SOURCE: Key = Key {
    name: "source",
    value: Value::Default(r#""auto""#),
    about: "Where the frames come from: \"publish\" (from whoever sends them), \"pattern\" (a test \
            picture), \"auto\" (the test picture while nobody publishes), \"service:NAME\" (from \
            another video service), or a folder of images, an animated GIF or a file of JPEGs one \
            after another, shown in a loop.",
};

const ENCODING: Key = Key {
    name: "encoding",
    value: Value::Default(r#""jpeg""#),
    about: "What TCP viewers are sent: \"jpeg\", or \"pickle\" for numpy arrays.",
};

const FPS: Key = Key {
    name: "fps",
    value: Value::Default("25"),
    about: "Frames per second of the test picture, and of files that do not say it themselves.",
};

const WIDTH: Key =
    Key { name: "width", value: Value::Default("640"), about: "The width of the test picture." };

const HEIGHT: Key = Key { name: "height", value: Value::Default("480"), about: "Its height." };

const QUALITY: Key = Key {
    name: "quality",
    value: Value::Default("80"),
    about: "The quality of the JPEGs that the service makes itself, from 1 to 100.",
};

const FRAME_SIZE: Key = Key {
    name: "frame_size",
    value: Value::Default(r#""8 MiB""#),
    about: "The most bytes of a frame, as it is sent and as pixels, of which each takes three bytes. \
            It cannot be turned off.",
};

const RECORD: Key = Key {
    name: "record",
    value: Value::Sample(r#""video.mp4""#),
    about: "A file below the root to which every frame is recorded, as Motion JPEG. If the name is \
            taken, a number makes a new one. If unset, nothing is recorded.",
};

const MAX_FILE_SIZE: Key = Key {
    about: "A recording goes on in a new file once it is as large as this; 0 means no limit, here and \
            below.",
    ..files::MAX_FILE_SIZE
};

/// A room holds no larger frame than 64 MiB, with what stands around it.
const LARGEST_FRAME: usize = 63 << 20;

/// What the kernel may hold of each viewer's frames, unless the settings say otherwise. With
/// its own choice it would hold seconds of them, and a slow viewer would see old frames
/// instead of skipping them.
const SEND_BUFFER: usize = 128 * 1024;

/// The service's `source`, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Written {
    Auto,
    Publish,
    Pattern,
    Service(String),
    Path(String),
}

fn plan(settings: &mut Settings<'_>) -> Plan {
    let written = settings.get(&SOURCE, source);
    let encoding = settings.get(&ENCODING, encoding);
    let fps = settings.get(&FPS, |value| values::integer(value, 1..=120));
    let width = settings.get(&WIDTH, side);
    let height = settings.get(&HEIGHT, side);
    let quality = settings.get(&QUALITY, |value| values::integer(value, 1..=100)) as u8;
    let frame_size = settings.get(&FRAME_SIZE, frame_size);
    if usize::from(width) * usize::from(height) * 3 > frame_size {
        settings.refuse("frame_size", "the test picture does not fit; make it smaller, or raise frame_size");
    }
    settings.socket.send_buffer.get_or_insert(SEND_BUFFER);
    let source = match written {
        Written::Auto => Source::Auto(Player::pattern(width, height, fps)),
        Written::Publish => Source::Publish,
        Written::Pattern => Source::Player(Player::pattern(width, height, fps)),
        Written::Service(name) => {
            if name == settings.name {
                settings.refuse("source", "the frames cannot come from the service itself");
            }
            Source::Service(Upstream::new(name, encoding))
        }
        Written::Path(path) => {
            let found = settings.path(&path);
            if !found.exists() {
                let why = format!(
                    "source: {path:?} is neither \"auto\", \"publish\", \"pattern\" nor \"service:NAME\", and \
                     there is no such file or folder"
                );
                settings.refuse("source", &why);
            }
            Source::Player(Player::file(found, frame_size, fps))
        }
    };
    let name = settings.name.to_owned();
    let root = files::root_to_write(settings);
    let recorder = settings.get_or(&RECORD, None, record).map(|name| Recorder::new(root, name));
    settings.listen(Video::new(Setup { name, encoding, source, frame_size, quality, recorder }))
}

fn record(value: &Toml<'_>) -> Read<Option<Name>> {
    let text = values::text(value)?;
    let name = clean(&text).map_err(|why| why.to_string())?;
    if name.as_str() != text || !text.to_ascii_lowercase().ends_with(".mp4") {
        return Err(format!("{text:?} is not the name of an MP4 file; write it like \"video.mp4\""));
    }
    Ok(Some(name))
}

fn source(value: &Toml<'_>) -> Read<Written> {
    let text = values::text(value)?;
    Ok(match text.as_str() {
        "auto" => Written::Auto,
        "publish" => Written::Publish,
        "pattern" => Written::Pattern,
        other => match other.strip_prefix("service:") {
            Some("") => return Err("\"service:\" lacks the name of a video service".into()),
            Some(name) => Written::Service(name.to_owned()),
            None => Written::Path(text),
        },
    })
}

fn encoding(value: &Toml<'_>) -> Read<Form> {
    match values::text(value)?.as_str() {
        "jpeg" => Ok(Form::Jpeg),
        "pickle" => Ok(Form::Raw),
        other => Err(format!("{other:?} is neither \"jpeg\" nor \"pickle\"")),
    }
}

fn side(value: &Toml<'_>) -> Read<u16> {
    values::integer(value, 16..=4096).map(|side| side as u16)
}

fn frame_size(value: &Toml<'_>) -> Read<usize> {
    match values::size(value)? {
        0 => Err("cannot be turned off: a frame is kept in memory".into()),
        size if size <= LARGEST_FRAME => Ok(size),
        _ => Err(format!("a frame has at most {} MiB", LARGEST_FRAME >> 20)),
    }
}

#[cfg(test)]
mod tests;
