//! Opens the files that a run writes. It overwrites an existing file only if
//! asked to; anything other than a regular file (a pipe, a terminal, a device)
//! has nothing to lose. One of the files may be `-`, standard output.

use std::path::{Path, PathBuf};

use clap::Args;

use super::Reporter;
use super::place::Place;
use super::writer::Writer;

/// The options that name the files to write.
#[derive(Debug, Clone, Args)]
pub struct Files {
    /// Write the summary to this file as JSON (docs/stress.md describes its
    /// fields); one of these four files may be -, for standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write one line of JSON per interval to this file
    #[arg(long, value_name = "FILE")]
    ndjson: Option<PathBuf>,
    /// Write an HdrHistogram interval log to this file
    #[arg(long, value_name = "FILE")]
    hdr: Option<PathBuf>,
    /// Write a page with the verdict, charts and all figures to this file
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Overwrite these files if they exist
    #[arg(long)]
    force: bool,
}

/// The files of a run: those that grow with it are open, and the others are known
/// to be writable.
#[derive(Debug)]
pub struct Outputs {
    pub json: Option<Place>,
    pub report: Option<Place>,
    growing: Vec<Place>,
}

impl Files {
    /// Checks before the measurement that all files can be written, and opens
    /// those that are written during the run.
    ///
    /// # Errors
    /// A sentence for the user. Nothing is left behind then.
    pub fn open(&self) -> Result<(Reporter, Outputs), String> {
        let place = |name: &Option<PathBuf>| {
            name.as_deref().map(|name: &Path| Place::new(name, self.force)).transpose()
        };
        let (json, report) = (place(&self.json)?, place(&self.report)?);
        let (ndjson, hdr) = (place(&self.ndjson)?, place(&self.hdr)?);
        let all: Vec<&Place> = [&json, &ndjson, &hdr, &report].into_iter().flatten().collect();
        for (number, place) in all.iter().enumerate() {
            if all[..number].iter().any(|other| other.is_same(place)) {
                return Err(match place.is_stdout() {
                    true => "only one file can go to standard output: give the others names".into(),
                    false => {
                        format!("{} would be written twice: give each file a name of its own", place.name())
                    }
                });
            }
        }
        [&json, &report].into_iter().flatten().try_for_each(Place::probe)?;
        let open = |place: &Option<Place>| {
            let writer = |place: &Place| {
                let file = place.open()?;
                Writer::new(place.name(), file).inspect_err(|_| place.take_back())
            };
            place.as_ref().map(writer).transpose()
        };
        let lines = open(&ndjson)?;
        let log = open(&hdr).inspect_err(|_| ndjson.iter().for_each(Place::take_back))?;
        let growing = [ndjson, hdr].into_iter().flatten().collect();
        Ok((Reporter::new(lines, log), Outputs { json, report, growing }))
    }
}

impl Outputs {
    /// Whether one of the files is standard output, which then holds nothing
    /// else.
    pub fn take_stdout(&self) -> bool {
        self.growing.iter().chain(&self.json).chain(&self.report).any(Place::is_stdout)
    }

    /// Removes the files created for a run that measured nothing, so that they
    /// are not in the way of the next attempt.
    pub fn take_back(&self) {
        self.growing.iter().for_each(Place::take_back);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_neither_refused_nor_removed() {
        let device = Some(PathBuf::from("/dev/null"));
        let mut files = Files { json: device.clone(), ndjson: None, hdr: None, report: None, force: false };
        let (_, outputs) = files.open().unwrap();
        assert!(!outputs.take_stdout());
        outputs.json.unwrap().write("text").unwrap();
        (files.json, files.hdr) = (None, device);
        let (_, outputs) = files.open().unwrap();
        outputs.take_back();
        assert!(Path::new("/dev/null").exists());
        files.hdr = Some(std::env::temp_dir());
        assert!(files.open().is_err_and(|why| why.contains("is a folder")));
        (files.json, files.hdr) = (Some("-".into()), Some("/dev/stdout".into()));
        assert!(files.open().is_err_and(|why| why.contains("only one file")));
    }

    #[test]
    fn a_refused_run_leaves_nothing_behind() {
        let folder = std::env::temp_dir().join(format!("onepoll-stress-refused-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let lines = folder.join("lines");
        let refused = |hdr: &str, json: &str| {
            let [ndjson, hdr, json] = [&lines, Path::new(hdr), Path::new(json)].map(|path| Some(path.into()));
            let files = Files { json, ndjson, hdr, report: None, force: false };
            let why = files.open().unwrap_err();
            assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "{why}");
        };
        refused("/proc/self/log", "/dev/null");
        refused("/dev/null", "/proc/self/summary");
        refused("/dev/null", &folder.join("./lines").display().to_string());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
