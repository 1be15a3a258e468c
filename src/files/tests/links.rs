//! What only a real directory can hold: links, FIFOs, names that are no text.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use super::*;

#[test]
fn no_link_leads_out_of_the_root() {
    let stage = Stage::on_disk();
    let outside = Stage::on_disk();
    outside.put("secret", b"secret");
    stage.put("inside", b"inside");
    let to_outside = outside.path.strip_prefix("/").unwrap();
    let link = |target: &Path, name: &str| symlink(target, stage.path.join(name)).unwrap();
    link(&outside.path.join("secret"), "absolute");
    link(Path::new("/etc/passwd"), "passwd");
    link(&Path::new("../../../../../../..").join(to_outside).join("secret"), "relative");
    link(&outside.path, "directory");
    link(Path::new("/proc/self/root/etc/passwd"), "magic");
    link(Path::new("loop"), "loop");
    link(Path::new("gone"), "dangling");
    link(Path::new("inside"), "within");
    let root = stage.start(Policy::default());
    for name in ["absolute", "passwd", "relative", "directory", "magic", "loop", "dangling"] {
        let error = download(&root, name).unwrap_err();
        assert!(matches!(error, FileError::NotFound | FileError::Denied), "{name}: {error:?}");
    }
    assert_eq!(download(&root, "directory/secret").unwrap_err(), FileError::NotFound);
    assert_eq!(download(&root, "within").unwrap(), b"inside");
    assert_eq!(listed(&root), ["inside", "within"]);
    assert_eq!(root.newest().unwrap().unwrap().size, 6);
    assert_eq!(figures(&root), [1, 6, 0, 0]);
    // Nothing is written through a link either.
    assert_eq!(upload(&root, "absolute", b"new").unwrap().name, name("absolute (2)"));
    assert_eq!(upload(&root, "dangling", b"new").unwrap().name, name("dangling (2)"));
    assert_eq!(outside.contents(), BTreeMap::from([("secret".into(), b"secret".into())]));
}

#[test]
fn only_regular_files_are_handed_out_and_none_hangs() {
    let stage = Stage::on_disk();
    let fifo = stage.path.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::create_dir(stage.path.join("folder")).unwrap();
    let _listener = UnixListener::bind(stage.path.join("socket")).unwrap();
    fs::write(stage.path.join(OsStr::from_bytes(b"\xff")), b"not text").unwrap();
    stage.put("file", b"file");
    let root = stage.start(Policy::default());
    assert_eq!(listed(&root), ["file"]);
    assert_eq!(figures(&root), [2, 12, 0, 0]);
    assert_eq!(download(&root, "fifo").unwrap_err(), FileError::NotFound);
    assert_eq!(download(&root, "folder").unwrap_err(), FileError::NotFound);
    assert!(download(&root, "socket").is_err());
    assert_eq!(upload(&root, "folder", b"new").unwrap().name, name("folder (2)"));
    assert_eq!(root.newest().unwrap().unwrap().name, name("folder (2)"));
}

#[test]
fn a_root_that_cannot_be_written_is_served() {
    // Nobody can create files there, not even root.
    let path = Path::new("/proc/sys/kernel");
    let root = Roots::on(Disk::Kernel).root(path, Policy::default());
    root.prepare().unwrap();
    assert!(listed(&root).contains(&"ostype".to_owned()));
    let error = root.begin(&name("a"), None).unwrap_err();
    assert!(matches!(error, FileError::ReadOnly | FileError::Unavailable(_)), "{error:?}");
    assert_eq!(download(&root, "ostype").map(drop), Ok(()));
}

#[test]
fn a_root_that_is_no_directory_is_unavailable_until_it_is() {
    let stage = Stage::on_disk();
    let path = stage.path.join("root");
    fs::write(&path, b"a file").unwrap();
    let root = Roots::on(Disk::Kernel).root(&path, Policy::default());
    for error in [root.prepare().unwrap_err(), root.begin(&name("a"), None).unwrap_err()] {
        assert_eq!(error.code(), "unavailable", "{error}");
    }
    fs::remove_file(&path).unwrap();
    upload(&root, "a", b"a").unwrap();
    assert_eq!(listed(&root), ["a", "welcome.txt"]);
}
