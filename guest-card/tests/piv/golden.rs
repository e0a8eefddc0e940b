//! What real clients send, and what they must get.

use crate::harness::{Terminal, play};

#[test]
fn opensc_connects() {
    play(
        &mut Terminal::new(),
        "> 00A4040009A00000030800001000
         < 61..9000
         > 00CB3FFF035C017E00
         < 7E124F0BA0000003080000100001005F2F0240009000
         > 00CB3FFF055C035FC10708
         < 5333F0..612D
         > 00C000002D
         < ..9000
         > 00CB3FFF055C035FC10700
         < 5333F0..9000
         > 00CB3FFF055C035FC10C00
         < 6A82
         > 00CB3FFF055C035FC10208
         < 533B3019D4E739DA6135
         > 00CB3FFF055C035FC10500
         < 6A82
         > 0087009B047C028100
         < 7C0A8108..9000",
    );
}

#[test]
fn opensc_counts_tries_and_logs_in() {
    play(
        &mut Terminal::new(),
        "> 00A4040009A00000030800001000
         < 61..9000
         > 00200080
         < 63C3
         > 0020008008313233343536FFFF
         < 9000
         > 00200080
         < 9000
         > 0020FF80
         < 9000
         > 00200080
         < 63C3",
    );
}

#[test]
fn yubico_clients_open_a_session() {
    play(
        &mut Terminal::new(),
        "> 00A4040005A000000308
         < 61..9000
         > 00FD0000
         < 0504039000
         > 00FD000000
         < 0504039000
         > 00F8000000
         < ..9000
         > 00F7009B00
         < 010103020200010501019000
         > 00F7008000
         < 0101FF050101060203039000
         > 00F7009A00
         < 6A88
         > 00F7009600
         < 6A88
         > 0087039B047C02800000
         < 7C0A8008..9000
         > 00CB3FFF055C035FFF0000
         < 6A82
         > 00CB3FFF055C035FC10900
         < 6982",
    );
}

#[test]
fn what_is_not_piv() {
    play(
        &mut Terminal::new(),
        "> 00A4040005A000000308
         < 61..9000
         > 00010000
         < 6D00
         > 00200000
         < 6A88
         > 00CB3FFF
         < 6A80
         > 00870000
         < 6A86",
    );
}
