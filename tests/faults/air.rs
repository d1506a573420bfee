//! The machines' UDP link: DHCP and TFTP over a wire that loses, doubles and reorders.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;

use crate::dice::Dice;
use crate::support::wire::{US, Wire, discover};

/// How bad a machine's link is, in parts of a hundred for each packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) lost: usize,
    pub(crate) doubled: usize,
    pub(crate) late: usize,
}

impl Link {
    pub(crate) const GOOD: Self = Self { lost: 0, doubled: 0, late: 0 };
    pub(crate) const BAD: Self = Self { lost: 30, doubled: 10, late: 20 };

    /// After which times copies of a packet arrive; none when it is lost.
    fn copies(self, dice: &mut Dice) -> Vec<Duration> {
        if dice.percent(self.lost) {
            return Vec::new();
        }
        let count = if dice.percent(self.doubled) { 2 } else { 1 };
        let delay = |dice: &mut Dice| {
            if dice.percent(self.late) {
                dice.up_to(Duration::from_millis(30))
            } else {
                Duration::ZERO
            }
        };
        (0..count).map(|_| delay(dice)).collect()
    }
}

/// What has come for the machines so far.
type Inbox = Rc<RefCell<HashMap<[u8; 6], usize>>>;

pub(crate) struct Air {
    pub(crate) wire: Wire,
    socket: Rc<UdpSocket>,
    offers: Inbox,
}

impl Air {
    pub(crate) fn plug() -> Self {
        let wire = Wire::plug();
        let socket = Rc::new(as_tokio(wire.socket(68)));
        let offers = Inbox::default();
        let (reading, inbox) = (Rc::clone(&socket), Rc::clone(&offers));
        tokio::task::spawn_local(async move {
            let mut buffer = [0; 2048];
            loop {
                let Ok((length, _)) = reading.recv_from(&mut buffer).await else { return };
                if length < 240 || buffer[0] != 2 {
                    continue;
                }
                if let Ok(mac) = <[u8; 6]>::try_from(&buffer[28..34]) {
                    *inbox.borrow_mut().entry(mac).or_default() += 1;
                }
            }
        });
        Self { wire, socket, offers }
    }

    fn offers_of(&self, mac: [u8; 6]) -> usize {
        self.offers.borrow().get(&mac).copied().unwrap_or(0)
    }

    async fn discover(&self, mac: [u8; 6], link: Link, dice: &mut Dice) {
        let packet = discover(mac, u8::try_from(dice.below(256)).unwrap());
        for delay in link.copies(dice) {
            tokio::time::sleep(delay).await;
            let _ = self.socket.send_to(&packet, ("255.255.255.255", 67)).await;
        }
    }

    /// Sends DISCOVERs as firmware does, until an offer arrives; false when none does.
    pub(crate) async fn is_offered(&self, mac: [u8; 6], link: Link, dice: &mut Dice) -> bool {
        for _ in 0..25 {
            let before = self.offers_of(mac);
            self.discover(mac, link, dice).await;
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(200) {
                if self.offers_of(mac) > before {
                    if dice.percent(link.lost) {
                        break;
                    }
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        }
        false
    }

    /// Sends a DISCOVER and then one of a machine that is offered something; true when the first got an answer before it.
    pub(crate) async fn is_answered(
        &self,
        mac: [u8; 6],
        offered: [u8; 6],
        dice: &mut Dice,
    ) -> bool {
        let before = self.offers_of(mac);
        self.discover(mac, Link::GOOD, dice).await;
        self.is_offered(offered, Link::GOOD, dice).await;
        self.offers_of(mac) > before
    }

    /// Fetches a file by TFTP; `None` when that fails.
    pub(crate) async fn tftp(&self, name: &str, link: Link, dice: &mut Dice) -> Option<Vec<u8>> {
        let socket = as_tokio(self.wire.socket(0));
        let mut request = vec![0, 1];
        request.extend(name.as_bytes());
        request.extend(b"\0octet\0blksize\x001400\0");
        let mut peer: SocketAddr = (US, 69).into();
        let mut message = request;
        let mut file = Vec::new();
        let mut expected = 1u16;
        let mut buffer = [0; 2000];
        let begun = Instant::now();
        let mut send = true;
        while begun.elapsed() < Duration::from_secs(20) {
            if send {
                for delay in link.copies(dice) {
                    tokio::time::sleep(delay).await;
                    let _ = socket.send_to(&message, peer).await;
                }
            }
            let received = socket.recv_from(&mut buffer);
            let wait = Duration::from_millis(300);
            let Ok(Ok((length, from))) = tokio::time::timeout(wait, received).await else {
                send = true;
                continue;
            };
            send = false;
            if link.copies(dice).is_empty() {
                continue;
            }
            let (head, data) = buffer[..length].split_at(4.min(length));
            match head {
                [0, 6, ..] if expected == 1 => {
                    peer = from;
                    message = vec![0, 4, 0, 0];
                    send = true;
                }
                [0, 3, high, low] if u16::from_be_bytes([*high, *low]) == expected => {
                    file.extend_from_slice(data);
                    message = vec![0, 4, *high, *low];
                    send = true;
                    expected = expected.wrapping_add(1);
                    if data.len() < 1400 {
                        let _ = socket.send_to(&message, peer).await;
                        return Some(file);
                    }
                }
                [0, 5, ..] => return None,
                _ => {}
            }
        }
        None
    }
}

fn as_tokio(socket: std::net::UdpSocket) -> UdpSocket {
    socket.set_nonblocking(true).unwrap();
    UdpSocket::from_std(socket).unwrap()
}
