use super::*;

fn inf(text: &str) -> Inf {
    Inf::parse(text.as_bytes()).unwrap()
}

fn fields(text: &str) -> Vec<String> {
    let inf = inf(&format!("[a]\n{text}"));
    let [line] = inf.section("A").unwrap() else { panic!("one line: {inf:?}") };
    line.key.iter().cloned().chain(line.fields.clone()).collect()
}

#[test]
fn fields_quotes_comments_and_lines_that_go_on() {
    assert_eq!(fields("x.sys,,,2 ; a comment"), ["x.sys", "", "", "2"]);
    assert_eq!(
        fields(r#"HKR, "a ; b", c d ,0x00010001, "say ""x""" "#),
        ["HKR", "a ; b", "c d", "0x00010001", r#"say "x""#]
    );
    assert_eq!(fields("AddReg = a,\\\n  b, c"), ["AddReg", "a", "b", "c"]);
    assert_eq!(fields("k = one \\\r\n two"), ["k", "one  two"]);
    // The equals sign of a value is no key's.
    assert_eq!(fields("HKR,,x,,a=b"), ["HKR", "", "x", "", "a=b"]);
    assert_eq!(fields(r#"" padded " = " v ""#), [" padded ", " v "]);
    assert_eq!(fields("a = %12%\\x.sys"), ["a", r"%12%\x.sys"]);
    assert_eq!(fields("1 = d,,,\\\n[next]"), ["1", "d", "", "", "\\"]);
    assert_eq!(fields(r#"a = "C:\" "#), ["a", "C:\\"]);
}

#[test]
fn sections_are_merged_and_strings_put_in_place() {
    let inf = inf("[Version]\nProvider=%p%\nX=%P%%%-%12%-%none%\n[strings]\np=\"Acme, \"\"Inc\"\"\"\n[VERSION]\nY=1\n\
         [Strings.0409]\nq=r\n[S]\n%Q% = %q%, %p");
    assert_eq!(inf.value("version", "provider"), Some("Acme, \"Inc\""));
    assert_eq!(inf.value("version", "x"), Some("Acme, \"Inc\"%-%12%-%none%"));
    assert_eq!(inf.value("Version", "Y"), Some("1"));
    assert_eq!(inf.section("s").unwrap()[0].key.as_deref(), Some("r"));
    assert_eq!(inf.section("s").unwrap()[0].fields, ["r", "%p"]);
    assert_eq!(inf.section("s").unwrap()[0].number, 11);
    assert!(inf.section("none").is_none());
    // US English wins over the texts for every language.
    let both = Inf::parse(b"[Strings.0409]\nx=us\n[Strings.0407]\nx=de\n[Strings]\nx=any\n[a]\nk=%x%").unwrap();
    assert_eq!(both.value("a", "k"), Some("us"));
}

#[test]
fn every_encoding() {
    let text = "[Version]\r\nProvider=Größe\r\n";
    let utf16 = reseal_dtyp::utf16le(text);
    let forms = [
        text.as_bytes().to_vec(),
        [&[0xef, 0xbb, 0xbf], text.as_bytes()].concat(),
        utf16.clone(),
        [vec![0xff, 0xfe], utf16].concat(),
    ];
    for bytes in forms {
        let inf = Inf::parse(&bytes).unwrap();
        assert_eq!(inf.value("version", "provider"), Some("Größe"));
        assert!(!inf.is_of_unknown_code_page);
    }
    let ansi = Inf::parse(b"[Version]\nProvider=Gr\xf6\xdfe\n").unwrap();
    assert_eq!((ansi.value("version", "provider"), ansi.is_of_unknown_code_page), (Some("Größe"), true));
}

#[test]
fn what_is_broken_is_named_by_its_line() {
    for (text, line, word) in [
        ("x = 1", 1, "before the first section"),
        ("[a]\n[b", 2, "section"),
        ("[]", 1, "section"),
        ("[a]\nx=\"open", 2, "quote"),
        ("[a]\nx=1\\\n\"open", 3, "quote"),
        ("[a]\nx\0", 2, "NUL"),
    ] {
        let error = Inf::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("line {line}:")) && error.contains(word), "{text:?}: {error}");
    }
    assert!(Inf::parse(&[0xff, 0xfe, 1]).is_err());
    assert_eq!(Inf::parse(&vec![b' '; MAX_BYTES + 1]).unwrap_err().kind(), Kind::Unsupported);
    assert!(Inf::parse(&vec![b'\n'; MAX_LINES + 1]).unwrap_err().to_string().contains("lines"));
    let commas = [b"[a]\n".to_vec(), vec![b','; MAX_FIELDS + 1]].concat();
    assert!(Inf::parse(&commas).unwrap_err().to_string().contains("fields"));
    // A text that is put in place very often.
    let bomb = format!("[Strings]\ns={}\n[a]\n{}", "x".repeat(60_000), "%s%,%s%,%s%,%s%\n".repeat(1000));
    assert_eq!(Inf::parse(bomb.as_bytes()).unwrap_err().kind(), Kind::Unsupported);
}

/// A small generator of its own: the mutations are the same each time.
fn random(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize
}

#[test]
fn mutated_texts_never_panic() {
    let sound = reseal_testdata::drivers::STORAGE.as_bytes();
    let target = crate::driver::package::Target::made_up();
    let (mut state, mut parsed, mut understood) = (7, 0, 0);
    for round in 0..4000 {
        let mut bytes =
            if round % 3 == 0 { reseal_dtyp::utf16le(reseal_testdata::drivers::STORAGE) } else { sound.to_vec() };
        for _ in 0..1 + random(&mut state) % 6 {
            let (at, other) = (random(&mut state) % bytes.len(), random(&mut state) % sound.len());
            match random(&mut state) % 5 {
                0 => bytes[at] = random(&mut state) as u8,
                1 => bytes.truncate(at.max(1)),
                2 => drop(bytes.drain(at..(at + other % 40).min(bytes.len()))),
                3 => drop(bytes.splice(at..at, sound[other..(other + 30).min(sound.len())].iter().copied())),
                _ => bytes[at] = b"\"%;\\,=[]\n\0"[other % 10],
            }
            if bytes.is_empty() {
                bytes.push(b'[');
            }
        }
        if let Ok(inf) = Inf::parse(&bytes) {
            parsed += 1;
            understood += usize::from(crate::driver::package::Package::read(&inf, &target).is_ok());
        }
    }
    assert!(parsed > 1000 && understood > 300 && understood < parsed, "{parsed} parsed, {understood} understood");
}
