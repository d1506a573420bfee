//! Everything that can be found wrong: name, severity, meaning, and what to do. `docs/doctor.md` is made from this table.

use super::Severity;

/// A kind of problem.
macro_rules! problems {
    ($($name:ident $code:literal $severity:ident $meaning:literal $fix:literal;)+) => {
        /// What can be wrong. Names are a contract with scripts: never renamed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Problem {
            $(#[doc = $meaning] $name,)+
        }

        impl Problem {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Its name.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code),+ }
            }

            /// How bad it is.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity),+ }
            }

            /// What it means.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning),+ }
            }

            /// What to do.
            #[must_use]
            pub fn fix(self) -> &'static str {
                match self { $(Self::$name => $fix),+ }
            }
        }
    };
}

problems! {
    NotRunning "not-running" Warning
        "No daemon answers on the control socket, so machines get nothing. What needs a running daemon was left out."
        "Start it: systemctl start ironhatch. If it does not stay up, the errors of this list come first; then read journalctl -u ironhatch -n 50.";
    NotChecked "not-checked" Note
        "Something could not be looked at; the sentence says what was missing."
        "Give the check what it lacked, or look yourself; docs/doctor.md says what each check needs.";
    ConfigurationWrong "configuration-wrong" Error
        "The configuration, a server type or a template cannot be used."
        "Correct what is named; `ironhatch check` shows file, line and the accepted values.";
    ConfigurationDoubtful "configuration-doubtful" Warning
        "The configuration can be used, but something of it is probably not meant."
        "Correct it, or leave it when it is meant.";
    NoServerType "no-server-type" Note
        "Hosts need a server type, and there is none yet."
        "Put a file into server-types/ beside the configuration; the examples there can be copied.";
    NetworkBootOff "network-boot-off" Note
        "Network boot is switched off: the daemon answers no DHCP and no TFTP."
        "Set enabled = true in the section [pxe] to boot machines from the network.";
    PortTaken "port-taken" Error
        "Another program has a port that the daemon needs, so the daemon does not start."
        "Stop that program and keep it from starting again (systemctl disable --now NAME), or run Ironhatch on another machine of this network. Two DHCP servers cannot share one machine.";
    InterfaceMissing "interface-missing" Error
        "The configured interface does not exist."
        "Correct pxe.interface; `ip -br address` shows the names. After a change of hardware or kernel names may be others.";
    LinkDown "link-down" Error
        "The interface is down or has no carrier: no machine can be heard."
        "Plug the cable in, bring the interface up (ip link set NAME up), look at the switch port.";
    NoAddress "no-address" Error
        "The interface has no IPv4 address, so nothing can be answered on it."
        "Give it a fixed address in the network's configuration.";
    OutsideSubnet "outside-subnet" Warning
        "No address of the interface is in pxe.subnet: one of the two is not what was meant."
        "Correct pxe.subnet or the interface's address.";
    SmallMtu "small-mtu" Warning
        "Packets larger than the interface carries are split, and much firmware drops the pieces: TFTP stops in the middle."
        "Set the MTU of the interface, and of the tunnel or VLAN that it is in, to 1500.";
    LargeMtu "large-mtu" Note
        "The interface sends jumbo frames. Machines in firmware use 1500 bytes; a switch that does not pass larger frames loses the installer's downloads."
        "When large downloads hang, set the interface to 1500, or every switch and machine of the segment to the same size.";
    ForeignPublicUrl "foreign-public-url" Warning
        "This machine does not have the address of server.public_url. That is right only behind NAT or a port forwarding."
        "Set server.public_url to an address of this machine on the segment of the machines.";
    PublicUrlElsewhere "public-url-elsewhere" Note
        "The address of server.public_url is not in pxe.subnet: machines need a route to it, which a DHCP server without gateway does not give."
        "Use the address on the boot interface, or see that the DHCP server gives a gateway that knows the way.";
    PublicUrlSilent "public-url-silent" Error
        "Nothing answers under server.public_url, where machines fetch their boot script and the installer."
        "Compare server.public_url with server.listen, then open the port in the firewall (nft list ruleset, ufw status, firewall-cmd --list-all).";
    PublicUrlOther "public-url-other" Error
        "Something else than this daemon answers under server.public_url."
        "Correct address and port of server.public_url, or the reverse proxy in between: paths below /ipxe, /boot and /api must reach the daemon unchanged.";
    NoDhcpServer "no-dhcp-server" Error
        "No DHCP server gave an address, and with mode = \"proxy\" the daemon gives none: machines do not get as far as asking what to boot."
        "Look at the router or DHCP server of this segment; it may be out of addresses. On an isolated segment set pxe.mode = \"full\". A switch with DHCP snooping drops offers from ports that are not trusted.";
    SlowDhcpServer "slow-dhcp-server" Warning
        "The DHCP server takes longer than two seconds, mostly because it pings an address before it offers it. iPXE gives boot data two seconds; firmware may need a second try."
        "Switch the ping check off (dnsmasq: no-ping; ISC dhcpd: ping-check false; Kea: remove the hook; Windows: conflict detection 0).";
    SeveralDhcpServers "several-dhcp-servers" Warning
        "More than one server gives addresses. A machine takes the offer it likes best, and may end up with an address that leads nowhere."
        "Switch all but one off, or see that they are a pair that shares one pool.";
    RivalDhcpServer "rival-dhcp-server" Error
        "Another server gives addresses on a segment that mode = \"full\" has for itself. The daemon does not start beside it."
        "Stop the other server, or set pxe.mode = \"proxy\".";
    DhcpServerClaimsPxe "dhcp-server-claims-pxe" Error
        "The DHCP server sends option 60 = PXEClient (often left from WDS). UEFI firmware then asks that server's UDP 4011 and never Ironhatch; nothing that Ironhatch sends can win."
        "Remove option 60 from that server, and options 66 and 67 with it. Windows: netsh dhcp server delete optiondef 60.";
    DhcpServerNamesBootFile "dhcp-server-names-boot-file" Warning
        "The DHCP server names a boot file (option 67). Firmware that ignores proxies loads it instead of ours, or fails with PXE-E53 or TFTP errors."
        "Remove options 66 and 67 (next-server, filename, dhcp-boot) from that server.";
    SecondBootServer "second-boot-server" Error
        "Another boot server (proxy DHCP) answers machines: WDS, FOG, netboot.xyz, a forgotten dnsmasq. Which one a machine follows is chance."
        "Switch it off for this segment, or set its boot data aside for its own machines only.";
    RelayInFront "relay-in-front" Note
        "A relay (ip helper) forwards DHCP. It must name Ironhatch as a second target, or machines behind it never reach it; TFTP and HTTP need a route back."
        "On the relay add this appliance's address as another helper address, beside the DHCP server's.";
    RelayedMachines "relayed-machines" Note
        "Machines reach Ironhatch through a relay. They load TFTP and HTTP across a router, whose firewall must let both pass."
        "Nothing, while they boot. Otherwise open UDP 69, UDP 4011 and the HTTP port between the segments.";
    NotHeardDhcp "not-heard-dhcp" Error
        "A question sent through the boot interface did not reach the daemon on UDP 67: a firewall on this machine drops it, and machines' questions too."
        "Open UDP 67 on the boot interface: ufw allow in on NAME to any port 67 proto udp, or firewall-cmd --add-service=dhcp, or the nftables rule udp dport { 67, 69, 4011 } accept.";
    NotHeardBootServer "not-heard-boot-server" Error
        "A question sent through the boot interface did not reach the daemon on UDP 4011: UEFI machines take the offer and then stop with PXE-E16, E18 or E22."
        "Open UDP 4011 on the boot interface; firewalls that know DHCP as a service leave this port out.";
    NoTftp "no-tftp" Error
        "TFTP does not answer, not even from this machine: firmware in PXE mode cannot load anything."
        "Open UDP 69 for incoming requests; nft list ruleset shows which rule drops them.";
    DataDirUnusable "data-dir-unusable" Error
        "The daemon cannot use its data directory."
        "See that it exists, belongs to the user ironhatch, and that its file system is not mounted read-only.";
    DiskFull "disk-full" Error
        "There is less than 256 MiB left where database and images are. A write that fails ends rebuilds."
        "Delete images that are not needed (ironhatch image list), or enlarge the file system.";
    DiskLow "disk-low" Warning
        "There is less than 2 GiB left where database and images are: the next image does not fit."
        "Delete images that are not needed (ironhatch image list), or enlarge the file system.";
    NoImage "no-image" Note
        "There is no image yet, so no host can be rebuilt."
        "Import one: ironhatch image import PATH-OR-URL, or on the page Images.";
    ImageUnusable "image-unusable" Error
        "The file of an image is gone or was changed."
        "Import it again; the record can be deleted on the page Images.";
    ClockWrong "clock-wrong" Error
        "This machine's clock is behind what it wrote down before, or before this program was made. Certificates and time limits of rebuilds are judged wrongly."
        "Set the clock and switch time synchronisation on: timedatectl set-ntp true. After a dead mainboard battery also replace that.";
    ClockUnkept "clock-unkept" Warning
        "Nothing that keeps this machine's clock right was found."
        "Switch time synchronisation on: timedatectl set-ntp true, or install chrony.";
    ClockDrift "clock-drift" Warning
        "This machine and a node of the cluster disagree about the time by more than ten seconds. Certificates of fresh nodes may not be valid yet for the other side, and logs do not fit together."
        "Let all of them use the same time servers (chronyc sources on a node, timedatectl here).";
    CertificateUnreadable "certificate-unreadable" Error
        "The certificate of the HTTPS listener cannot be read, so the daemon does not start."
        "Remove tls.crt and tls.key from the data directory to have new ones made, or put a usable pair there.";
    CertificateExpired "certificate-expired" Error
        "The certificate of the HTTPS listener is not valid now. Installers compare its fingerprint only, browsers refuse it."
        "Put a new pair into the data directory (tls.crt, tls.key), or remove both to have one made, then restart while no rebuild runs.";
    CertificateExpiresSoon "certificate-expires-soon" Warning
        "The certificate of the HTTPS listener ends within 30 days."
        "Put a new pair into the data directory (tls.crt, tls.key), or remove both to have one made, then restart while no rebuild runs.";
    CertificateOtherName "certificate-other-name" Warning
        "The certificate of the HTTPS listener is not for the address of server.public_url: browsers warn."
        "Use a certificate for that address, or remove tls.crt and tls.key to have one made for it.";
    MemberUnreachable "member-unreachable" Error
        "The member of the cluster that hosts are joined through does not answer; rebuilds stop before a disk is erased."
        "See that the node is up and that proxmox.existing_node is its address; ports 22 and 8006 must be open for this machine.";
    NoNodeEnrolled "no-node-enrolled" Note
        "Apps are switched on, but no node is enrolled, so nothing can be installed."
        "Enrol a node on the page Nodes, or with: ironhatch node enroll ADDRESS. A host that is rebuilt enrols itself.";
    ClusterUnreachable "cluster-unreachable" Error
        "No enrolled node answers on its API."
        "See that the nodes are up and that port 8006 is open for this machine. After a reinstallation enrol a node again.";
    TokenRefused "token-refused" Error
        "The cluster does not accept Ironhatch's API token: it was deleted, or its user was disabled."
        "Enrol a node again: ironhatch node enroll ADDRESS. That makes a new token with the right rights.";
    TokenRights "token-rights" Error
        "Ironhatch's API token lacks rights that the configuration needs, after a change of [apps] or of the cluster's access lists."
        "Enrol the node again to renew roles and access lists; nothing else is changed by it.";
    NotQuorate "not-quorate" Error
        "The cluster has no quorum: nothing can be changed in it, and no host can join."
        "Bring the missing nodes back. pvecm status on a node shows who is missing.";
    NodeOffline "node-offline" Warning
        "A node of the cluster is offline."
        "Look at that node. Quorum lasts only while more than half of the votes are there.";
    NodeUnusable "node-unusable" Warning
        "An enrolled node cannot be used by Ironhatch."
        "Do what the sentence says; the page Nodes has the details.";
    ReleaseUnsupported "release-unsupported" Error
        "The cluster runs a release of Proxmox VE that is older than what Ironhatch works with (8.2)."
        "Upgrade the cluster; Proxmox has a guide for each major release.";
    ImageAhead "image-ahead" Warning
        "An image has a newer major release than the cluster. A node of another major release joins, but such a cluster is not supported by Proxmox."
        "Upgrade the cluster's other nodes soon, or rebuild hosts from an image of the cluster's release.";
    ImageBehind "image-behind" Warning
        "Every image has an older major release than the cluster. A node of another major release joins, but such a cluster is not supported by Proxmox."
        "Import an image of the cluster's release.";
}
