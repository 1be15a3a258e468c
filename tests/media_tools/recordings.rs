//! Recordings and JPEGs, as ffprobe, ffmpeg and OpenCV see them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use libtest_mimic::Trial;
use onepoll::media::mp4::{self, Recording};
use onepoll::media::pattern::Pattern;
use onepoll::media::{Picture, jpeg};
use onepoll::wire::jpeg::JpegReader;

use crate::tools::{TemporaryFile, obstacle, output, python, text};
use crate::trials::trial;

const MAX_BYTES: usize = 64 << 20;

pub fn trials() -> Vec<Trial> {
    let ffprobe = obstacle(Path::new("ffprobe"), &["-version"]);
    let ffmpeg = obstacle(Path::new("ffmpeg"), &["-version"]);
    let opencv = obstacle(&python(2), &["-c", "import cv2"]);
    vec![
        trial(
            "ffprobe finds every frame of a recording at its time",
            ffprobe.clone(),
            ffprobe_finds_every_frame,
        ),
        trial("ffprobe reads a recording up to where it is cut", ffprobe, ffprobe_reads_up_to_the_cut),
        trial("ffmpeg decodes a recording without complaint", ffmpeg.clone(), ffmpeg_decodes_a_recording),
        trial("ffmpeg writes JPEGs that we tell apart", ffmpeg, ffmpeg_writes_jpegs),
        trial("OpenCV shows the frames of a recording", opencv.clone(), opencv_shows_the_frames),
        trial("OpenCV reads a recording up to where it is cut", opencv.clone(), opencv_reads_up_to_the_cut),
        trial("OpenCV and we read each other's JPEGs", opencv, jpegs_are_read_both_ways),
    ]
}

const WIDTH: u16 = 160;
const HEIGHT: u16 = 120;
/// When the frames come, in milliseconds: not quite regularly.
const TIMES: [u64; 12] = [0, 40, 80, 125, 160, 161, 240, 480, 520, 560, 600, 640];

fn pictures() -> Vec<Picture> {
    let pattern = Pattern::new(WIDTH, HEIGHT, 25);
    (0..TIMES.len() as u64).map(|number| pattern.draw(number * 10, "12:34:56.789")).collect()
}

/// A recording, and where each of its frames ends in it.
fn recording() -> (Vec<u8>, Vec<usize>) {
    let (mut file, mut ends) = (mp4::head(WIDTH, HEIGHT), Vec::new());
    let mut recording = Recording::default();
    let mut fragments = Vec::new();
    for (picture, time) in pictures().iter().zip(TIMES) {
        let jpeg = Bytes::from(jpeg::encode(picture, 80));
        fragments.extend(recording.frame(jpeg, Duration::from_millis(5000 + time)));
    }
    fragments.extend(recording.finish());
    for fragment in fragments {
        file.extend_from_slice(&fragment.head);
        file.extend_from_slice(&fragment.jpeg);
        ends.push(file.len());
    }
    (file, ends)
}

/// Places to cut a recording, and how many whole frames are in front of each.
fn cuts() -> Vec<(Vec<u8>, usize)> {
    let (file, ends) = recording();
    let mut places = vec![ends[0], ends[0] + 1, ends[4] - 1, ends[4] + 8, ends[4] + 50, ends[4] + 104];
    places.extend([ends[4] + 110, ends[9], ends[9] + 103, ends[10] - 1, ends[11] - 2]);
    let whole = |place: usize| ends.iter().filter(|end| **end <= place).count();
    places.into_iter().map(|place| (file[..place].to_vec(), whole(place))).collect()
}

/// Asks ffprobe for these fields, and returns them line by line.
fn probe(file: &TemporaryFile, entries: &str) -> Vec<String> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-count_frames", "-select_streams", "v", "-of", "csv=p=0"]);
    command.args(["-show_entries", entries]).arg(&file.0);
    let text = text(&mut command, b"");
    // Side data adds a comma and nothing else.
    text.lines().map(|line| line.trim_end_matches(',').to_owned()).filter(|line| !line.is_empty()).collect()
}

fn ffprobe_finds_every_frame() {
    let file = TemporaryFile::new("whole.mp4", &recording().0);
    let stream = probe(&file, "stream=codec_name,width,height,nb_read_frames");
    assert_eq!(stream, [format!("mjpeg,{WIDTH},{HEIGHT},{}", TIMES.len())]);
    let times = probe(&file, "frame=pts_time");
    let times: Vec<f64> = times.iter().filter_map(|time| time.parse().ok()).collect();
    let expected = TIMES.map(|milliseconds| milliseconds as f64 / 1000.0);
    let near = |(found, expected): (&f64, f64)| (found - expected).abs() < 0.0001;
    assert!(times.len() == expected.len() && times.iter().zip(expected).all(near), "{times:?}");
    // The sum of all durations. It shows none of the single ones where each frame is a
    // fragment of its own, in ffmpeg's files neither.
    assert_eq!(probe(&file, "stream=avg_frame_rate,duration"), ["300/17,0.680000"]);
    assert!(probe(&file, "format=format_name").join("").starts_with("\"mov,mp4,"));
}

fn ffprobe_reads_up_to_the_cut() {
    let (whole_file, _) = recording();
    let sizes = probe(&TemporaryFile::new("sizes.mp4", &whole_file), "packet=size");
    for (number, (file, whole)) in cuts().into_iter().enumerate() {
        let file = TemporaryFile::new(&format!("cut-{number}.mp4"), &file);
        let mut command = Command::new("ffprobe");
        // A cut in the middle of a box is worth a complaint to it.
        command.args([
            "-v",
            "quiet",
            "-select_streams",
            "v",
            "-of",
            "csv=p=0",
            "-show_entries",
            "packet=size",
        ]);
        let packets = text(command.arg(&file.0), b"");
        let packets: Vec<&str> = packets.lines().filter(|line| !line.is_empty()).collect();
        assert!(packets.len() >= whole && packets[..whole] == sizes[..whole], "cut {number}: {packets:?}");
        // It may read what there is of the frame that is cut.
        assert!(packets.len() <= whole + 1, "cut {number}: {packets:?}");
    }
}

fn ffmpeg_decodes_a_recording() {
    let file = TemporaryFile::new("decode.mp4", &recording().0);
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-xerror", "-i"]).arg(&file.0);
    let raw = output(
        command.args([
            "-fps_mode",
            "passthrough",
            "-enc_time_base",
            "1:90000",
            "-f",
            "rawvideo",
            "-pix_fmt",
            "bgr24",
            "-",
        ]),
        b"",
    );
    let pictures = pictures();
    assert_eq!(raw.len(), pictures.len() * pictures[0].bgr().len());
    for (found, expected) in raw.chunks(pictures[0].bgr().len()).zip(&pictures) {
        assert_alike(found, expected);
    }
}

/// Whether a picture went through a JPEG and is still the same, by the mean difference.
fn assert_alike(found: &[u8], expected: &Picture) {
    assert_eq!(found.len(), expected.bgr().len());
    let difference: u64 = found.iter().zip(expected.bgr()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    let mean = difference as f64 / found.len() as f64;
    assert!(mean < 8.0, "a mean difference of {mean}");
}

fn ffmpeg_writes_jpegs() {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=25", "-frames:v", "30"]);
    let stream = output(command.args(["-pix_fmt", "yuvj420p", "-f", "mjpeg", "-"]), b"");
    let (mut reader, mut found) = (JpegReader::default(), 0);
    for mut piece in stream.chunks(1000) {
        while let (used, Some(jpeg)) = reader.next(piece, MAX_BYTES).unwrap() {
            piece = &piece[used..];
            found += 1;
            let picture = jpeg::decode(&jpeg, MAX_BYTES).unwrap();
            assert_eq!((picture.width(), picture.height()), (320, 240));
        }
    }
    assert_eq!((found, reader.broken(), reader.is_in_jpeg()), (30, 0, false));
}

/// Prints the bytes of all frames that OpenCV reads.
const SHOW: &str = "
import sys, cv2
video = cv2.VideoCapture(sys.argv[1])
assert video.isOpened()
while True:
    more, frame = video.read()
    if not more:
        break
    sys.stdout.buffer.write(frame.tobytes())
";

fn opencv(program: &str) -> Command {
    let mut command = Command::new(python(2));
    // OpenCV's own ffmpeg complains of what is cut off.
    command.env("OPENCV_FFMPEG_LOGLEVEL", "-8").args(["-c", program]);
    command
}

fn opencv_shows_the_frames() {
    let file = TemporaryFile::new("opencv.mp4", &recording().0);
    let shown = output(opencv(SHOW).arg(&file.0), b"");
    let pictures = pictures();
    assert_eq!(shown.len(), pictures.len() * pictures[0].bgr().len());
    for (found, expected) in shown.chunks(pictures[0].bgr().len()).zip(&pictures) {
        assert_alike(found, expected);
    }
}

fn opencv_reads_up_to_the_cut() {
    let pictures = pictures();
    for (number, (file, whole)) in cuts().into_iter().enumerate() {
        let file = TemporaryFile::new(&format!("opencv-cut-{number}.mp4"), &file);
        let shown = output(opencv(SHOW).arg(&file.0), b"");
        let length = pictures[0].bgr().len();
        // It may show what there is of the frame that is cut.
        let count = shown.len() / length;
        assert!((whole..=whole + 1).contains(&count), "{count} of {whole} frames in front of cut {number}");
        for (found, expected) in shown.chunks(length).take(whole).zip(&pictures) {
            assert_alike(found, expected);
        }
    }
}

fn jpegs_are_read_both_ways() {
    let picture = Pattern::new(WIDTH, HEIGHT, 25).draw(42, "00:00:00");
    let program = "
import sys, cv2, numpy
frame = cv2.imdecode(numpy.frombuffer(sys.stdin.buffer.read(), numpy.uint8), cv2.IMREAD_COLOR)
sys.stdout.buffer.write(cv2.imencode('.jpg', frame)[1].tobytes())
";
    let theirs = output(&mut opencv(program), &jpeg::encode(&picture, 90));
    let found = jpeg::decode(&theirs, MAX_BYTES).unwrap();
    assert_eq!((found.width(), found.height()), (WIDTH, HEIGHT));
    assert_alike(found.bgr(), &picture);
}
