//! Data objects.

use cardhost_wire::tlv::{find, object, only};

use crate::harness::{PIN, Terminal, hex};

fn get(terminal: &mut Terminal, tag: &str) -> (Vec<u8>, u16) {
    terminal.send(0xCB, 0x3F, 0xFF, &object(0x5C, &hex(tag)))
}

fn put(terminal: &mut Terminal, tag: &str, content: &[u8]) -> u16 {
    let data = [object(0x5C, &hex(tag)), object(0x53, content)].concat();
    terminal.status(0xDB, 0x3F, 0xFF, &data)
}

#[test]
fn a_personalised_card_has_an_identity() {
    let mut terminal = Terminal::new();
    let (chuid, status) = get(&mut terminal, "5FC102");
    assert_eq!(status, 0x9000);
    let content = only(&chuid, 0x53).unwrap();
    assert_eq!(find(content, 0x34).unwrap().unwrap().len(), 16);
    assert_eq!(find(content, 0x30).unwrap().unwrap().len(), 25);
    assert_eq!(find(content, 0x35).unwrap(), Some(&b"99991231"[..]));
    let (container, _) = get(&mut terminal, "5FC107");
    assert_eq!(find(only(&container, 0x53).unwrap(), 0xF0).unwrap().unwrap().len(), 21);
}

#[test]
fn the_discovery_object_is_fixed() {
    let mut terminal = Terminal::new();
    let (discovery, _) = get(&mut terminal, "7E");
    assert_eq!(discovery, hex("7E124F0BA0000003080000100001005F2F024000"));
    terminal.authenticate();
    assert_eq!(terminal.status(0xDB, 0x3F, 0xFF, &discovery), 0x6A81);
}

#[test]
fn objects_are_written_with_the_management_key_and_cleared_by_empty_content() {
    let mut terminal = Terminal::new();
    for tag in ["5FC105", "5FC10A", "5FC10B", "5FC101", "5FC10D", "5FC120", "5FC106", "5FFF00", "5FFF11"] {
        terminal.select();
        assert_eq!(put(&mut terminal, tag, &[1, 2, 3]), 0x6982);
        terminal.authenticate();
        assert_eq!(get(&mut terminal, tag).1, 0x6A82);
        assert_eq!(put(&mut terminal, tag, &[1, 2, 3]), 0x9000);
        assert_eq!(get(&mut terminal, tag), (hex("5303010203"), 0x9000));
        assert_eq!(put(&mut terminal, tag, &[]), 0x9000);
        assert_eq!(get(&mut terminal, tag).1, 0x6A82);
    }
}

#[test]
fn personal_objects_want_the_pin() {
    let mut terminal = Terminal::new();
    terminal.authenticate();
    for tag in ["5FC103", "5FC108", "5FC109", "5FC121", "5FC123"] {
        assert_eq!(put(&mut terminal, tag, &[1]), 0x9000);
        assert_eq!(get(&mut terminal, tag).1, 0x6982);
    }
    assert_eq!(terminal.verify(PIN), 0x9000);
    for tag in ["5FC103", "5FC108", "5FC109", "5FC121", "5FC123"] {
        assert_eq!(get(&mut terminal, tag), (hex("530101"), 0x9000));
    }
}

#[test]
fn a_large_object_goes_in_by_a_chain_and_comes_out_by_get_response() {
    let mut terminal = Terminal::new();
    terminal.authenticate();
    let content: Vec<u8> = (0..3000_u32).map(|byte| byte as u8).collect();
    let data = [object(0x5C, &hex("5FC105")), object(0x53, &content)].concat();
    let mut chunks = data.chunks(255).peekable();
    while let Some(chunk) = chunks.next() {
        let class = if chunks.peek().is_some() { 0x10 } else { 0x00 };
        let command = [&[class, 0xDB, 0x3F, 0xFF, chunk.len() as u8], chunk].concat();
        assert_eq!(terminal.transmit(&command), [0x90, 0x00]);
    }
    let mut read = Vec::new();
    let mut answer = terminal.transmit(&hex("00CB3FFF055C035FC10500"));
    while let [part @ .., 0x61, _] = answer.as_slice() {
        read.extend_from_slice(part);
        answer = terminal.transmit(&hex("00C0000000"));
    }
    read.extend_from_slice(&answer[..answer.len() - 2]);
    assert_eq!(read, object(0x53, &content));
}

#[test]
fn an_object_that_is_too_large_is_refused() {
    let mut terminal = Terminal::new();
    terminal.authenticate();
    assert_eq!(put(&mut terminal, "5FC105", &vec![0; 15 * 1024]), 0x6A84);
    assert_eq!(get(&mut terminal, "5FC105").1, 0x6A82);
}

#[test]
fn unknown_and_malformed_names_are_refused() {
    let mut terminal = Terminal::new();
    for tag in ["5FC000", "7F61", "600000"] {
        assert_eq!(get(&mut terminal, tag).1, 0x6A82);
    }
    for data in ["", "5C", "5C025FC1", "5C045FC10500", "5D035FC105", "5C035FC10500"] {
        assert_eq!(terminal.status(0xCB, 0x3F, 0xFF, &hex(data)), 0x6A80, "{data}");
    }
    assert_eq!(terminal.status(0xCB, 0x3F, 0x00, &hex("5C035FC105")), 0x6A86);
    terminal.authenticate();
    assert_eq!(put(&mut terminal, "5EC105", &[1]), 0x6A82);
    for data in ["", "5C035FC105", "5C035FC1055401AA", "5C035FC1055301AA00"] {
        assert_eq!(terminal.status(0xDB, 0x3F, 0xFF, &hex(data)), 0x6A80, "{data}");
    }
}

#[test]
fn the_key_history_counts_retired_certificates() {
    let mut terminal = Terminal::new();
    assert_eq!(get(&mut terminal, "5FC10C").1, 0x6A82);
    terminal.authenticate();
    assert_eq!(put(&mut terminal, "5FC10F", &hex("7001AA710100FE00")), 0x9000);
    assert_eq!(get(&mut terminal, "5FC10C"), (hex("5308C10103C20100FE00"), 0x9000));
    assert_eq!(put(&mut terminal, "5FC10C", &[9]), 0x9000);
    assert_eq!(get(&mut terminal, "5FC10C"), (hex("530109"), 0x9000));
}
