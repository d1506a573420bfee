//! A tolerant walk over the options of a request.

use std::net::Ipv4Addr;

/// Option codes that we read or write (RFC 2132, 3004, 3046, 4578; 175 is iPXE's).
pub(super) mod code {
    pub(in crate::proto::dhcp) const PAD: u8 = 0;
    pub(in crate::proto::dhcp) const SUBNET_MASK: u8 = 1;
    pub(in crate::proto::dhcp) const ROUTER: u8 = 3;
    pub(in crate::proto::dhcp) const DNS: u8 = 6;
    pub(in crate::proto::dhcp) const VENDOR_OPTIONS: u8 = 43;
    pub(in crate::proto::dhcp) const REQUESTED_ADDRESS: u8 = 50;
    pub(in crate::proto::dhcp) const LEASE_SECS: u8 = 51;
    pub(in crate::proto::dhcp) const OVERLOAD: u8 = 52;
    pub(in crate::proto::dhcp) const MESSAGE_TYPE: u8 = 53;
    pub(in crate::proto::dhcp) const SERVER_ID: u8 = 54;
    pub(in crate::proto::dhcp) const MAX_MESSAGE: u8 = 57;
    pub(in crate::proto::dhcp) const RENEWAL_SECS: u8 = 58;
    pub(in crate::proto::dhcp) const REBINDING_SECS: u8 = 59;
    pub(in crate::proto::dhcp) const VENDOR_CLASS: u8 = 60;
    pub(in crate::proto::dhcp) const CLIENT_ID: u8 = 61;
    pub(in crate::proto::dhcp) const TFTP_SERVER: u8 = 66;
    pub(in crate::proto::dhcp) const BOOT_FILE: u8 = 67;
    pub(in crate::proto::dhcp) const USER_CLASS: u8 = 77;
    pub(in crate::proto::dhcp) const RELAY_INFO: u8 = 82;
    pub(in crate::proto::dhcp) const ARCHITECTURE: u8 = 93;
    pub(in crate::proto::dhcp) const MACHINE_ID: u8 = 97;
    pub(in crate::proto::dhcp) const IPXE: u8 = 175;
    pub(in crate::proto::dhcp) const END: u8 = 255;
}

/// The options of one request, split ones joined in order (RFC 3396). Fixed-length options keep their first instance.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) message: Option<u8>,
    pub(super) requested_address: Option<Ipv4Addr>,
    pub(super) server_id: Option<Ipv4Addr>,
    pub(super) max_message_bytes: Option<u16>,
    overload: Option<u8>,
    pub(super) vendor_class: Vec<u8>,
    pub(super) user_class: Vec<u8>,
    pub(super) architectures: Vec<u8>,
    pub(super) vendor_options: Vec<u8>,
    pub(super) client_id: Vec<u8>,
    pub(super) relay_info: Vec<u8>,
    pub(super) machine_id: Vec<u8>,
    pub(super) ipxe: Option<Vec<u8>>,
}

impl Options {
    /// Reads the option field, then, as option 52 says, `file` and `sname`, in the order of RFC 3396 section 5.
    pub(super) fn collect(datagram: &[u8]) -> Self {
        let mut options = Self::default();
        options.walk(datagram.get(240..).unwrap_or(&[]));
        // Taken before the overloaded fields are read: an option 52 inside them means nothing.
        let overload = options.overload.unwrap_or(0);
        if overload & 1 != 0 {
            options.walk(datagram.get(108..236).unwrap_or(&[]));
        }
        if overload & 2 != 0 {
            options.walk(datagram.get(44..108).unwrap_or(&[]));
        }
        options
    }

    fn walk(&mut self, mut field: &[u8]) {
        while let Some((&tag, rest)) = field.split_first() {
            match tag {
                code::PAD => field = rest,
                code::END => return,
                _ => {
                    let Some((&length, rest)) = rest.split_first() else { return };
                    let Some(value) = rest.get(..usize::from(length)) else { return };
                    self.take(tag, value);
                    field = rest.get(usize::from(length)..).unwrap_or(&[]);
                }
            }
        }
    }

    fn take(&mut self, tag: u8, value: &[u8]) {
        match tag {
            code::MESSAGE_TYPE => first(&mut self.message, value.first().copied()),
            code::OVERLOAD => first(&mut self.overload, value.first().copied()),
            code::REQUESTED_ADDRESS => first(&mut self.requested_address, address(value)),
            code::SERVER_ID => first(&mut self.server_id, address(value)),
            code::MAX_MESSAGE => {
                first(&mut self.max_message_bytes, value.try_into().ok().map(u16::from_be_bytes));
            }
            code::VENDOR_CLASS => self.vendor_class.extend_from_slice(value),
            code::USER_CLASS => self.user_class.extend_from_slice(value),
            code::ARCHITECTURE => self.architectures.extend_from_slice(value),
            code::VENDOR_OPTIONS => self.vendor_options.extend_from_slice(value),
            code::CLIENT_ID => self.client_id.extend_from_slice(value),
            code::RELAY_INFO => self.relay_info.extend_from_slice(value),
            code::MACHINE_ID => self.machine_id.extend_from_slice(value),
            code::IPXE => self.ipxe.get_or_insert_default().extend_from_slice(value),
            _ => {}
        }
    }
}

/// A repeated fixed-length option is a mistake somewhere on the way; the first readable one counts.
fn first<T>(slot: &mut Option<T>, value: Option<T>) {
    if slot.is_none() {
        *slot = value;
    }
}

fn address(value: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from)
}
