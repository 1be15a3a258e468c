//! Pictures from files, in an endless loop: a folder of images, an animated GIF, or a
//! file of JPEGs one after another.
//!
//! These functions block on the disk, and are called in offloaded jobs.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::time::Duration;

use image::codecs::gif::GifDecoder;
use image::{AnimationDecoder, DynamicImage, ImageDecoder, ImageFormat};

use super::{Picture, jpeg};
use crate::wire::jpeg::JpegReader;

/// How much a GIF may take once its frames are JPEGs: a minute at 25 frames per second
/// of 640 × 480 pixels takes about that.
const MAX_GIF_BYTES: usize = 64 << 20;

/// The quality of a GIF's frames as JPEGs.
const GIF_QUALITY: u8 = 90;

/// What browsers do with a GIF that gives its frames less than 20 ms: those were made for
/// programs that could not show them as fast.
const GIF_LEAST_PAUSE: Duration = Duration::from_millis(20);
const GIF_USUAL_PAUSE: Duration = Duration::from_millis(100);

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// A frame from a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceFrame {
    /// A JPEG, as it stands in the file.
    Jpeg(Vec<u8>),
    /// A picture that was something else.
    Picture(Picture),
}

/// The reason why a file gives no pictures.
#[derive(Debug)]
pub struct SourceError {
    path: PathBuf,
    why: Why,
}

#[derive(Debug)]
enum Why {
    Io(io::Error),
    NoImages,
    NoWholeJpeg,
    TooLong(usize),
    Format,
    Gif(String),
    Picture(super::PictureError),
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.why {
            Why::Io(error) => write!(f, "cannot read {path}: {error}"),
            Why::NoImages => write!(f, "{path} holds no images: put JPEG, PNG or GIF files there"),
            Why::NoWholeJpeg => write!(f, "{path} holds no whole JPEG"),
            Why::TooLong(limit) => write!(f, "{path} holds an image of more than {limit} bytes"),
            Why::Format => write!(f, "{path} is neither JPEG, PNG nor GIF"),
            Why::Gif(why) => write!(f, "cannot read {path}: {why}"),
            Why::Picture(error) => write!(f, "cannot use {path}: {error}"),
        }
    }
}

impl std::error::Error for SourceError {}

/// Pictures from a folder or file, one after another, from the start again after the
/// last one. It can be handed from one offloaded job to the next.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    max_bytes: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Image files in the order of their names.
    Files {
        files: Vec<PathBuf>,
        next: usize,
    },
    /// The frames of a GIF as JPEGs, and how long each is shown.
    Gif {
        frames: Vec<(Vec<u8>, Duration)>,
        next: usize,
    },
    Jpegs(JpegFile),
}

impl Source {
    /// Opens a folder or a file. `max_bytes` limits each picture, as a file and decoded.
    pub fn open(path: &Path, max_bytes: usize) -> Result<Source, SourceError> {
        let fail = |why| SourceError { path: path.to_owned(), why };
        let kind = if fs::metadata(path).map_err(|error| fail(Why::Io(error)))?.is_dir() {
            let files = images_in(path).map_err(|error| fail(Why::Io(error)))?;
            if files.is_empty() {
                return Err(fail(Why::NoImages));
            }
            Kind::Files { files, next: 0 }
        } else {
            open_file(path, max_bytes).map_err(fail)?
        };
        Ok(Source { path: path.to_owned(), max_bytes, kind })
    }

    /// Returns the next picture, and how long it is to be shown if the source says so.
    /// A file in a folder that cannot be read is passed over as long as another can.
    pub fn next_frame(&mut self) -> Result<(SourceFrame, Option<Duration>), SourceError> {
        let max_bytes = self.max_bytes;
        match &mut self.kind {
            Kind::Files { files, next } => {
                let mut first_error = None;
                for _ in 0..files.len() {
                    let file = &files[*next % files.len()];
                    *next = (*next + 1) % files.len();
                    match read_image(file, max_bytes) {
                        Ok(frame) => return Ok((frame, None)),
                        Err(why) => {
                            first_error.get_or_insert(SourceError { path: file.clone(), why });
                        }
                    }
                }
                Err(first_error.unwrap_or(SourceError { path: self.path.clone(), why: Why::NoImages }))
            }
            Kind::Gif { frames, next } => {
                let (frame, pause) = &frames[*next];
                *next = (*next + 1) % frames.len();
                Ok((SourceFrame::Jpeg(frame.clone()), Some(*pause)))
            }
            Kind::Jpegs(file) => match file.next_frame(max_bytes) {
                Ok(frame) => Ok((SourceFrame::Jpeg(frame), None)),
                Err(why) => Err(SourceError { path: self.path.clone(), why }),
            },
        }
    }
}

fn open_file(path: &Path, max_bytes: usize) -> Result<Kind, Why> {
    let mut file = File::open(path).map_err(Why::Io)?;
    match format(&mut file).map_err(Why::Io)? {
        Some(ImageFormat::Gif) => Ok(Kind::Gif { frames: read_gif(file, max_bytes)?, next: 0 }),
        Some(ImageFormat::Jpeg) => Ok(Kind::Jpegs(JpegFile::new(file))),
        Some(_) => Ok(Kind::Files { files: vec![path.to_owned()], next: 0 }),
        None => Err(Why::Format),
    }
}

/// The image files in a folder, in the order of their names.
fn images_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let ending = path.extension().map(|ending| ending.to_ascii_lowercase());
        let is_image =
            ending.is_some_and(|ending| ["jpg", "jpeg", "png", "gif"].iter().any(|known| ending == *known));
        if is_image && fs::metadata(&path).is_ok_and(|found| found.is_file()) {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// What a file is by its first bytes, which are left unread.
fn format(file: &mut File) -> io::Result<Option<ImageFormat>> {
    let mut start = Vec::new();
    file.take(8).read_to_end(&mut start)?;
    file.rewind()?;
    Ok(match &start[..] {
        [0xFF, 0xD8, ..] => Some(ImageFormat::Jpeg),
        [0x89, b'P', b'N', b'G', ..] => Some(ImageFormat::Png),
        [b'G', b'I', b'F', b'8', ..] => Some(ImageFormat::Gif),
        _ => None,
    })
}

fn read_image(path: &Path, max_bytes: usize) -> Result<SourceFrame, Why> {
    let mut file = File::open(path).map_err(Why::Io)?;
    let format = format(&mut file).map_err(Why::Io)?.ok_or(Why::Format)?;
    let mut bytes = Vec::new();
    file.take(max_bytes as u64 + 1).read_to_end(&mut bytes).map_err(Why::Io)?;
    if bytes.len() > max_bytes {
        return Err(Why::TooLong(max_bytes));
    }
    if format == ImageFormat::Jpeg {
        // Without what some cameras put behind the picture.
        let (_, whole) =
            JpegReader::default().next(&bytes, max_bytes).map_err(|_| Why::TooLong(max_bytes))?;
        return whole.map(SourceFrame::Jpeg).ok_or(Why::NoWholeJpeg);
    }
    jpeg::decode_as(format, &bytes, max_bytes).map(SourceFrame::Picture).map_err(Why::Picture)
}

fn read_gif(file: File, max_bytes: usize) -> Result<Vec<(Vec<u8>, Duration)>, Why> {
    let damaged = |error: image::ImageError| Why::Gif(jpeg::reason(&error));
    let mut decoder = GifDecoder::new(BufReader::new(file)).map_err(damaged)?;
    // The canvas is reserved before the limits are looked at.
    let (width, height) = decoder.dimensions();
    jpeg::check_size(width, height, max_bytes).map_err(Why::Picture)?;
    decoder.set_limits(jpeg::limits(max_bytes)).map_err(damaged)?;
    let (mut frames, mut total) = (Vec::new(), 0);
    for frame in decoder.into_frames() {
        let frame = frame.map_err(damaged)?;
        let pause = Some(Duration::from(frame.delay())).filter(|pause| *pause >= GIF_LEAST_PAUSE);
        let image = DynamicImage::ImageRgba8(frame.into_buffer());
        let picture = jpeg::from_image(image, max_bytes).map_err(Why::Picture)?;
        let frame = jpeg::encode(&picture, GIF_QUALITY);
        total += frame.len();
        if total > MAX_GIF_BYTES {
            return Err(Why::Gif(format!("its frames take more than {} MiB as JPEGs", MAX_GIF_BYTES >> 20)));
        }
        frames.push((frame, pause.unwrap_or(GIF_USUAL_PAUSE)));
    }
    if frames.is_empty() { Err(Why::Gif("it has no frames".into())) } else { Ok(frames) }
}

/// A file of JPEGs one after another.
#[derive(Debug)]
struct JpegFile {
    file: File,
    reader: JpegReader,
    /// What was read and not consumed: `buffer[at..]`.
    buffer: Vec<u8>,
    at: usize,
    /// A JPEG was found since the file was last read from its start.
    found: bool,
}

impl JpegFile {
    fn new(file: File) -> JpegFile {
        JpegFile { file, reader: JpegReader::default(), buffer: Vec::new(), at: 0, found: false }
    }

    fn next_frame(&mut self, max_bytes: usize) -> Result<Vec<u8>, Why> {
        loop {
            let (used, jpeg) =
                self.reader.next(&self.buffer[self.at..], max_bytes).map_err(|_| Why::TooLong(max_bytes))?;
            self.at += used;
            if let Some(jpeg) = jpeg {
                self.found = true;
                return Ok(jpeg);
            }
            self.buffer.clear();
            self.at = 0;
            (&self.file).take(CHUNK as u64).read_to_end(&mut self.buffer).map_err(Why::Io)?;
            if self.buffer.is_empty() {
                if !std::mem::take(&mut self.found) {
                    return Err(Why::NoWholeJpeg);
                }
                self.file.rewind().map_err(Why::Io)?;
                self.reader = JpegReader::default();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::codecs::gif::GifEncoder;
    use image::{Delay, Frame, Rgba, RgbaImage};

    const MEBIBYTE: usize = 1 << 20;

    /// A folder of its own for one test, removed at its end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("onepoll-source-{test}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }

        fn with(&self, name: &str, bytes: &[u8]) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, bytes).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn jpeg_of(shade: u8) -> Vec<u8> {
        jpeg::encode(&Picture::new(8, 8, vec![shade; 8 * 8 * 3]).unwrap(), 90)
    }

    fn png() -> Vec<u8> {
        let mut bytes = io::Cursor::new(Vec::new());
        let image = RgbaImage::from_pixel(2, 1, Rgba([255, 128, 64, 255]));
        image.write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    fn gif(pauses: &[u32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = GifEncoder::new(&mut bytes);
        for (number, pause) in pauses.iter().enumerate() {
            let image = RgbaImage::from_pixel(8, 8, Rgba([number as u8 * 100, 0, 0, 255]));
            let delay = Delay::from_numer_denom_ms(*pause, 1);
            encoder.encode_frame(Frame::from_parts(image, 0, 0, delay)).unwrap();
        }
        drop(encoder);
        bytes
    }

    fn frames(source: &mut Source, count: usize) -> Vec<SourceFrame> {
        (0..count).map(|_| source.next_frame().unwrap().0).collect()
    }

    #[test]
    fn a_folder_gives_its_images_by_name_and_starts_again() {
        let folder = Folder::new("folder");
        let (first, third) = (jpeg_of(10), jpeg_of(200));
        folder.with("c.JPEG", &third);
        folder.with("b.png", &png());
        folder.with("a.jpg", &[&first[..], b"trailer"].concat());
        folder.with("broken.jpg", &first[..50]);
        folder.with("notes.txt", b"no image");
        fs::create_dir(folder.0.join("folder.png")).unwrap();
        let mut source = Source::open(&folder.0, MEBIBYTE).unwrap();
        let png = SourceFrame::Picture(Picture::new(2, 1, vec![64, 128, 255, 64, 128, 255]).unwrap());
        let (first, third) = (SourceFrame::Jpeg(first), SourceFrame::Jpeg(third));
        assert_eq!(frames(&mut source, 4), [first.clone(), png, third, first]);
    }

    #[test]
    fn a_file_of_jpegs_is_a_loop() {
        let folder = Folder::new("jpegs");
        let (one, two) = (jpeg_of(10), jpeg_of(200));
        // The second frame lies across two chunks, the last one is cut.
        let comment = [&[0xFF, 0xD8, 0xFF, 0xFE, 0xFF, 0xFF][..], &[b' '; 65_533]].concat();
        let long = [&comment, &one[2..]].concat();
        let path = folder.with("clip.mjpeg", &[&one[..], &long, &two, &one[..30]].concat());
        let mut source = Source::open(&path, MEBIBYTE).unwrap();
        let expected = [&one, &long, &two, &one, &long].map(|jpeg| SourceFrame::Jpeg(jpeg.clone()));
        assert_eq!(frames(&mut source, 5), expected);
    }

    #[test]
    fn a_source_can_go_from_thread_to_thread() {
        fn check<T: Send + 'static>() {}
        check::<Source>();
    }

    #[test]
    fn a_gif_is_a_loop_with_its_own_pace() {
        let folder = Folder::new("gif");
        let path = folder.with("clip.gif", &gif(&[50, 0, 200]));
        let mut source = Source::open(&path, MEBIBYTE).unwrap();
        let shown: Vec<_> = (0..4).map(|_| source.next_frame().unwrap()).collect();
        let pauses: Vec<u128> = shown.iter().map(|(_, pause)| pause.unwrap().as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 50]);
        assert_eq!(shown[0], shown[3]);
        for (number, (frame, _)) in shown[..3].iter().enumerate() {
            let SourceFrame::Jpeg(frame) = frame else { panic!("{frame:?}") };
            let red = jpeg::decode(frame, MEBIBYTE).unwrap().pixel(4, 4)[2];
            assert!(red.abs_diff(number as u8 * 100) < 8, "frame {number} has a red of {red}");
        }
    }

    #[test]
    fn what_gives_no_picture_is_refused_by_name() {
        let folder = Folder::new("refused");
        let refused = |path: &Path| {
            let source = Source::open(path, 1000).and_then(|mut source| source.next_frame());
            source.unwrap_err().to_string().replace(&path.display().to_string(), "IT")
        };
        assert_eq!(refused(&folder.0), "IT holds no images: put JPEG, PNG or GIF files there");
        assert_eq!(refused(&folder.0.join("none")), "cannot read IT: No such file or directory (os error 2)");
        assert_eq!(refused(&folder.with("text.jpg", b"hello")), "IT is neither JPEG, PNG nor GIF");
        assert_eq!(refused(&folder.with("cut.jpg", &jpeg_of(1)[..40])), "IT holds no whole JPEG");
        let long = [&[0xFF, 0xD8, 0xFF, 0xE0, 0x20, 0][..], &[0; 5000]].concat();
        assert_eq!(refused(&folder.with("long.jpg", &long)), "IT holds an image of more than 1000 bytes");
        assert!(refused(&folder.with("cut.png", &png()[..30])).starts_with("cannot use IT: "));
        let mut huge = gif(&[50]);
        huge[6..10].fill(0xFF);
        assert_eq!(
            refused(&folder.with("huge.gif", &huge)),
            "cannot use IT: a picture of 65535x65535 pixels is larger than the 1000 bytes that are allowed"
        );
        assert!(refused(&folder.with("cut.gif", &gif(&[50])[..15])).starts_with("cannot read IT: "));
    }

    #[test]
    fn a_folder_in_which_nothing_can_be_read_says_why() {
        let folder = Folder::new("unreadable");
        let path = folder.with("a.jpg", b"hello");
        let mut source = Source::open(&folder.0, MEBIBYTE).unwrap();
        let error = source.next_frame().unwrap_err().to_string();
        assert_eq!(error, format!("{} is neither JPEG, PNG nor GIF", path.display()));
    }
}
