//! DHCP packets through parser, decision and encoder; what is sent must be what the client that asked takes.
//!
//! Input: options of the daemon (2 bytes), then packets: seconds (1), port (1), length (2), bytes.

use ironhatch::domain::boot::{BootProfile, BootProgram, OfferForm, Standing};
use ironhatch::domain::id::HostId;
use ironhatch::fakes::firmware::desk::Desk;
use ironhatch::plan::offer::{Channel, UnknownMachines};
use ironhatch::proto::dhcp::sample::{IPXE_WITH_HTTP, IPXE_WITHOUT_HTTP, Packet};

use super::Seeds;
use crate::input::{Input, piece};

/// Packets of one input.
const MOST: usize = 16;

fn standing(byte: u8) -> Standing {
    let host = "pve1".parse().expect("a name");
    match byte & 3 {
        0 => {
            let form = [None, Some(OfferForm::Direct), Some(OfferForm::Discover), None];
            let program = [
                None,
                Some(BootProgram::UndionlyKpxe),
                Some(BootProgram::SnponlyEfi),
                Some(BootProgram::IpxeEfi),
            ];
            Standing::Armed {
                id: HostId(uuid::Uuid::nil()),
                host,
                profile: BootProfile {
                    form: form[usize::from(byte >> 2 & 3)],
                    program: program[usize::from(byte >> 4 & 3)],
                },
            }
        }
        1 => Standing::Unknown,
        2 => Standing::Ignored,
        _ => Standing::Idle { host },
    }
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (standing, options) = (standing(input.byte()), input.byte());
    let unknown = if options & 1 == 0 { UnknownMachines::Enroll } else { UnknownMachines::Ignore };
    let mut desk = if options & 2 == 0 {
        Desk::beside(standing, unknown)
    } else {
        Desk::full(standing, unknown)
    };
    for _ in 0..MOST {
        if input.is_empty() {
            return;
        }
        desk.wait(input.byte().into());
        let channel = if input.byte() & 1 == 0 { Channel::Port67 } else { Channel::Port4011 };
        let packet = input.piece();
        if let Err(dropped) = desk.hand_in(packet, channel) {
            panic!("{dropped}: {packet:02x?} on {channel:?}");
        }
    }
}

pub(crate) fn seeds() -> Seeds {
    let long = [b'x'; 255];
    let machines = [
        ("bios", Packet::pxe(1, 0)),
        ("uefi", Packet::pxe(1, 7)),
        ("uefi-ebc", Packet::pxe(1, 9)),
        ("arm", Packet::pxe(1, 11)),
        ("http", Packet::http(1, 16)),
        ("ipxe", Packet::ipxe(1, 7, IPXE_WITH_HTTP)),
        ("ipxe-own", Packet::pxe(1, 7).with(77, b"\x09ironhatch")),
        ("ipxe-old", Packet::ipxe(1, 0, IPXE_WITHOUT_HTTP)),
        ("laptop", Packet::laptop(1)),
        ("relayed", Packet::pxe(1, 7).with(61, &long).with(82, &long).with(82, &long)),
        ("menu", Packet::pxe(1, 0).with(43, &[71, 4, 0, 0, 0, 0, 255])),
        ("overload", Packet::pxe(1, 7).with(52, &[3])),
    ];
    let mut seeds = Seeds::new();
    for (name, packet) in machines {
        for (mode, options) in [("beside", 0u8), ("full", 2)] {
            // The other kinds are reached by changing these.
            if mode == "full" && !["bios", "uefi", "laptop"].contains(&name) {
                continue;
            }
            // DISCOVER, REQUEST of the pool's first address, and the question on 4011.
            let request = packet.clone().without(53).with(53, &[3]).with(54, &[192, 0, 2, 10]);
            let mut asks = request.clone();
            asks.ciaddr = [192, 0, 2, 70].into();
            let parts = [
                vec![0, options],
                vec![0, 0],
                piece(&packet.bytes()),
                vec![1, 0],
                piece(&request.with(50, &[192, 0, 2, 70]).bytes()),
                vec![1, 1],
                piece(&asks.bytes()),
            ];
            seeds.push((format!("{name}-{mode}"), parts.concat()));
        }
    }
    seeds
}
