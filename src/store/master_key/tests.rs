use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn written(text: &[u8], mode: u32) -> Result<Fingerprint, MasterKeyFault> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("master.key");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    read(&path).map(|key| key.fingerprint())
}

#[test]
fn three_ways_of_writing_a_key_are_read() {
    let bytes: [u8; 32] = std::array::from_fn(|n| u8::try_from(n).unwrap() ^ 0xa5);
    let expected = MasterKey::new(&bytes).fingerprint();
    let base64 = BASE64.encode(bytes);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    for text in [
        bytes.to_vec(),
        base64.clone().into_bytes(),
        format!("{base64}\r\n").into_bytes(),
        format!("{}\n", hex.to_uppercase()).into_bytes(),
        hex.into_bytes(),
    ] {
        assert_eq!(written(&text, 0o400).unwrap(), expected);
    }
}

#[test]
fn a_key_of_the_wrong_length_is_refused_and_not_repeated() {
    for text in [
        "",
        "\n",
        "canary",
        &BASE64.encode([7; 31]),
        &BASE64.encode([7; 33]),
        &BASE64.encode([7; 48]),
        &"g7".repeat(32),
        &"7".repeat(63),
        &"a\n".repeat(32),
        &"x".repeat(10_000),
    ] {
        let fault = written(text.as_bytes(), 0o600).unwrap_err();
        assert!(matches!(fault, MasterKeyFault::Malformed { .. }), "{text}");
        assert!(text.is_empty() || !fault.to_string().contains("canary"));
    }
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_command_that_mends_it() {
    let key = BASE64.encode([7; 32]);
    for mode in [0o644, 0o640, 0o604, 0o620, 0o700, 0o4600] {
        let fault = written(key.as_bytes(), mode).unwrap_err();
        assert!(matches!(fault, MasterKeyFault::Exposed { .. }), "{mode:o}");
        assert!(fault.to_string().contains("chmod 0600 /"), "{fault}");
    }
    assert!(written(key.as_bytes(), 0o600).is_ok());
}

#[test]
fn only_a_regular_file_holds_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    create(&path("real")).unwrap();
    symlink(path("real"), path("link")).unwrap();
    fs::create_dir(path("folder")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, path("pipe"), 0o600.into()).unwrap();
    for name in ["link", "folder", "pipe"] {
        let fault = read(&path(name)).unwrap_err();
        assert!(matches!(fault, MasterKeyFault::NotAFile { .. }), "{fault}");
    }
    let fault = read(&path("none")).unwrap_err();
    assert!(matches!(fault, MasterKeyFault::Missing { .. }), "{fault}");
}

#[test]
fn a_new_key_is_its_owners_alone_and_overwrites_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("master.key");
    let key = create(&path).unwrap();
    assert_eq!(read(&path).unwrap().fingerprint(), key.fingerprint());
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
        0o600
    );
    let fault = create(&path).unwrap_err();
    assert!(matches!(fault, MasterKeyFault::Exists { .. }), "{fault}");
    assert_eq!(read(&path).unwrap().fingerprint(), key.fingerprint());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn d4_the_wrong_key_is_named_with_both_fingerprints() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("master.key");
    let key = create(&path).unwrap();
    let store = Fingerprint([0xab; 16]);
    let fault = load(&MasterKeySource::File(path), store).unwrap_err();
    let text = fault.to_string();
    for part in [key.fingerprint().to_string(), store.to_string()] {
        assert!(text.contains(&part), "{text}");
    }
}
