//! Every verdict that there is: its name, what it means, why it happens and what to do.
//!
//! `docs/boot-problems.md` is generated from this table.

use std::time::Duration;

/// How a verdict is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Under way.
    Busy,
    /// Nothing is wrong, and nothing goes on.
    Quiet,
    /// Somebody should look.
    Bad,
}

impl Tone {
    /// Name in the API and in pages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Busy => "busy",
            Self::Quiet => "idle",
            Self::Bad => "bad",
        }
    }
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident, $slug:literal, $tone:ident, $title:literal, $cause:literal, $fix:literal;)+) => {
        /// One verdict. The names in the API are a contract.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Kind {
            /// All of them, in the order of a boot.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Name in the API.
            #[must_use]
            pub fn slug(self) -> &'static str {
                match self { $(Self::$name => $slug,)+ }
            }

            /// How it is to be taken.
            #[must_use]
            pub fn tone(self) -> Tone {
                match self { $(Self::$name => Tone::$tone,)+ }
            }

            /// What it means, in general.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }

            /// Why it happens, most probable cause first.
            #[must_use]
            pub fn cause(self) -> &'static str {
                match self { $(Self::$name => $cause,)+ }
            }

            /// What to do.
            #[must_use]
            pub fn fix(self) -> &'static str {
                match self { $(Self::$name => $fix,)+ }
            }
        }
    };
}

kinds! {
    /// Armed, and nothing came.
    NothingHeard, "nothing-heard", Bad,
    "The host is armed and its machine was not heard",
    "The machine is off, starts from its disk first, is connected to another network, or its switch lets no DHCP packets through (DHCP snooping).",
    "Switch it on with network boot (PXE, IPv4) first in its boot order. If its firmware shows that it asks and nothing arrives here, look at cable, VLAN and DHCP snooping.";
    /// The architecture is not served.
    WrongArchitecture, "wrong-architecture", Bad,
    "The machine's architecture is not served",
    "Its firmware asks as an architecture for which Proxmox VE does not exist, or as 32-bit UEFI, or it does not name one.",
    "Switch the firmware to UEFI x64 or to BIOS (CSM) network boot. ARM machines cannot be installed.";
    /// Boot integrity services.
    SignedBoot, "signed-boot", Bad,
    "The firmware wants signed boot files",
    "Boot integrity services (BIS) are switched on in the network card's option ROM.",
    "Switch boot integrity services off in the network card's settings.";
    /// Full mode: no address.
    NoLease, "no-lease", Bad,
    "There was no address for the machine",
    "Every address of the pool is lent, or the request came through a relay from a network without a pool.",
    "Enlarge the pool, shorten the lease time, or let the relay point at another server.";
    /// Offered, took no address.
    NoAddress, "no-address", Bad,
    "The machine was offered a boot program and took no address",
    "No DHCP server gave it an address (none there, pool empty, unknown machines refused), or replies do not reach it (DHCP snooping, a port that still blocks for spanning tree), or its firmware refuses the form of the offer (PXE-E16, PXE-E51).",
    "See whether other machines get an address on that port. Switch on portfast, trust the port of this appliance in DHCP snooping, and look for PXE-E16 on the screen.";
    /// Form discover: never asked 4011.
    NeverAsked4011, "never-asked-4011", Bad,
    "The machine took an address and never asked for its boot program",
    "A firewall drops UDP 4011 or 69 to this appliance, the firmware refuses this form of the offer, or another server's offer was preferred (a DHCP server that sends option 60, a second PXE server).",
    "Open UDP 67, 69 and 4011 on the way to this appliance. Remove options 60, 66 and 67 from the DHCP server, and switch other PXE servers off.";
    /// Form direct: never asked TFTP.
    NeverAskedTftp, "never-asked-tftp", Bad,
    "The machine took the offer and never asked for the file",
    "A firewall drops UDP 69 to this appliance, the firmware refuses this form of the offer, or another server's offer was preferred.",
    "Open UDP 69 and 4011 on the way to this appliance. Remove options 60, 66 and 67 from the DHCP server, and switch other PXE servers off.";
    /// Both forms came to nothing.
    OfferIgnored, "offer-ignored", Bad,
    "The machine ignored both forms of the offer",
    "Another server's answer outranks ours: the DHCP server sends option 60 \"PXEClient\" (often left over from WDS), or a second PXE server answers. Firmware from before 2017 may ignore every boot server beside the DHCP server.",
    "Remove options 60, 66 and 67 from the DHCP server, switch other PXE servers off, update the firmware, or start iPXE from a USB stick.";
    /// 4011 answered, TFTP not asked.
    Silent4011, "no-file-asked", Bad,
    "The machine was told its boot program on port 4011 and never asked for it",
    "The answer from port 4011 did not reach it (a firewall that knows no such port, NAT on the way), or TFTP requests to UDP 69 are dropped.",
    "Open UDP 4011 and 69 in both directions between the machines and this appliance.";
    /// HTTP boot: program never fetched.
    NeverFetched, "never-fetched", Bad,
    "The firmware took the offer of HTTP boot and never fetched the program",
    "Many firmwares accept only https:// for HTTP boot (\"only HTTPS connection is allowed\"), or a firewall drops the HTTP port.",
    "Allow HTTP in the firmware's settings, or choose PXE instead of HTTP boot. Open the HTTP port of this appliance.";
    /// Another server gave it a boot program.
    OtherServer, "other-server", Bad,
    "Another server gave the machine its boot program",
    "A second PXE server or the DHCP server's own boot file was preferred: an iPXE started that was not loaded from here.",
    "Switch the other PXE server off, or remove options 66 and 67 (and 60) from the DHCP server.";
    /// TFTP: a file that we do not name.
    ForeignFile, "foreign-file", Bad,
    "The machine asked for a file that was not offered",
    "The DHCP server, or another PXE server, names a boot file of its own (option 67) that the firmware prefers.",
    "Remove options 66 and 67 from the DHCP server, and switch other PXE servers off.";
    /// TFTP: limits.
    TftpLimited, "tftp-limited", Bad,
    "A TFTP request was refused because too many transfers run",
    "More machines boot at once than TFTP serves, or one of them repeats its requests without end.",
    "Wait a minute and start it again; the page Health shows the limit that was met.";
    /// TFTP: first answer never confirmed.
    TftpUnanswered, "tftp-unanswered", Bad,
    "The machine asked for its boot program and never confirmed the answer",
    "A firewall lets the request through and drops the answer, or the path carries only smaller packets (VPN, PPPoE).",
    "Let UDP packets from port 69 of this appliance through. Check the MTU between it and the machine.";
    /// TFTP: fell silent.
    TftpStalled, "tftp-stalled", Bad,
    "The TFTP transfer stopped in the middle",
    "The machine was switched off or lost its link (cable, switch port, spanning tree), or packets are lost or too large on the way.",
    "Start it again. If it stops again: another cable or port, portfast, and the MTU between this appliance and the machine.";
    /// TFTP: ERROR from the machine.
    TftpAborted, "tftp-aborted", Bad,
    "The machine ended the TFTP transfer itself",
    "The file does not fit into the firmware's memory, the firmware refuses an option of the transfer (PXE-E23), or somebody pressed a key.",
    "Read the message on the machine's screen. Update the firmware, or choose another boot program for this host.";
    /// Program loaded, never spoke.
    ProgramSilent, "program-silent", Bad,
    "The boot program was loaded and iPXE never spoke",
    "iPXE's driver and this network chip do not get on (no link, no packets), Secure Boot refused the program, or the switch port blocks for spanning tree after the link went down.",
    "Switch Secure Boot off and portfast on. Where there is another boot program it is tried by itself; it can also be set under Edit this host.";
    /// Both programs loaded, neither spoke.
    SecureBoot, "secure-boot", Bad,
    "Both boot programs were loaded and neither spoke",
    "Secure Boot refuses unsigned programs (\"Access denied\", \"Security violation\"), or the firmware's network stack does not work after the handover.",
    "Switch Secure Boot off in the firmware's settings. Otherwise update the firmware or use another network card.";
    /// iPXE without HTTP comes back.
    IpxeLoop, "ipxe-loop", Bad,
    "An old iPXE came back again and again",
    "The network card's own iPXE knows no HTTP, was given a newer one, and started again itself.",
    "Set another boot program for this host, or update the network card's ROM.";
    /// iPXE spoke, no script.
    NoScript, "no-script", Bad,
    "iPXE got its offer and never fetched its script",
    "HTTP requests do not reach this appliance: a firewall, or a public URL that machines cannot reach.",
    "Open the HTTP port of this appliance for the machines' network, and check server.public_url.";
    /// Script refused.
    ScriptRefused, "script-refused", Bad,
    "The boot script was refused",
    "The machine is not the one that was registered (system UUID), has too little memory, or its rebuild cannot go on.",
    "The reason says which. Correct the host, or tell it that the hardware was changed, and rebuild again.";
    /// Script, no kernel.
    NoKernel, "no-kernel", Bad,
    "The boot script was loaded and the kernel was not",
    "iPXE stopped at its script: a key was pressed, the machine was switched off, or HTTP fails for larger files.",
    "Look at the machine's screen, then start it again.";
    /// Kernel, but not all of the rest.
    DownloadStopped, "download-stopped", Bad,
    "The installer was loaded only in part",
    "iPXE stopped between two files: too little memory for the ISO (it must fit twice on UEFI), or the machine was switched off.",
    "Look at the machine's screen. Give it more memory, or start it again.";
    /// A download broke.
    DownloadBroken, "download-broken", Bad,
    "A download of the installer broke off",
    "The machine ran out of memory, lost its link, or was switched off.",
    "Look at the machine's screen. Check memory, cable and switch port, then start it again.";
    /// Token over.
    InstallerRefused, "installer-refused", Bad,
    "The machine asked for an installer that it may not have any more",
    "Its rebuild was cancelled, failed or is over, while the machine went on with an old script.",
    "Start the rebuild again and let the machine boot once more.";
    /// Loaded, no answer request.
    NoAnswerRequest, "no-answer-request", Bad,
    "The installer was loaded and never asked for its answer",
    "The installer had no network: no driver for the card in its kernel, a switch port without portfast (it tries DHCP once), no DHCP server for it, or the port that answers travel over is filtered (TCP 8443 with tls = \"auto\"). Or it ran out of memory while unpacking.",
    "Look at the machine's screen. Switch on portfast, see whether DHCP answers, open the port, or take a newer image for new hardware.";
    /// Answer refused.
    AnswerRefused, "answer-refused", Bad,
    "The answer was refused",
    "The machine is not the armed host (MAC, system UUID), its image is another one, or the answer was taken before.",
    "The reason says which. An answer leaves once only: rebuild the host again.";
    /// No report.
    NoReport, "no-report", Bad,
    "The installer took its answer and did not report",
    "It stopped with an error (disk, answer, package), it is slow, or it lost its network.",
    "Look at the machine's screen: an error stays there. Then rebuild again.";
    /// Report refused.
    ReportRefused, "report-refused", Bad,
    "The installer's report was refused",
    "Its rebuild is over or was cancelled meanwhile, or somebody else reports in its place.",
    "The reason says which. Rebuild the host again.";
    /// No call back.
    NoCallBack, "no-call-back", Bad,
    "The installation ended and the installed system did not call back",
    "It did not start from its disk (boot order, a second disk), its network differs from the installer's, or it cannot reach this appliance.",
    "Look at the machine's screen: does Proxmox VE start? Check its boot order and address, and that it reaches the public URL.";
    /// Boots from the network instead of the disk.
    NetworkAgain, "boots-network-again", Bad,
    "After the installation the machine starts from the network again and again",
    "Its firmware does not go on to the disk when network boot is not answered, or the disk that was installed is not in its boot order.",
    "Put the installed disk first in the boot order, or network boot behind it.";
    /// Call back refused.
    CallBackRefused, "call-back-refused", Bad,
    "The call of the installed system was refused",
    "Its rebuild is over, or another machine answers in its place (other SSH host keys than the installer reported).",
    "The reason says which. Rebuild the host again.";
    /// Unregistered and ignored by the configuration.
    Ignored, "ignored", Quiet,
    "An unregistered machine asked, and such machines are met with silence",
    "pxe.unknown is \"ignore\".",
    "Register the machine by its MAC address, or set pxe.unknown to \"enroll\".";
    /// Dismissed sighting.
    Dismissed, "dismissed", Quiet,
    "The machine was dismissed from the sightings and is met with silence",
    "An operator dismissed it.",
    "Show it again on the page Sightings, then register it.";
    /// Not armed.
    OwnDisk, "own-disk", Quiet,
    "The machine starts from its own disk",
    "No rebuild waits for it.",
    "Nothing. To install it, rebuild the host, then let it boot from the network.";
    /// The notice.
    Notice, "notice", Quiet,
    "The unregistered machine was shown its notice",
    "Network boot works from end to end.",
    "Register it, then rebuild it.";
    /// Armed a moment ago.
    Waiting, "waiting", Busy,
    "The host is armed and waits for its machine",
    "It was armed a moment ago.",
    "Let the machine boot from the network.";
    /// On its way.
    UnderWay, "under-way", Busy,
    "The machine boots",
    "The last thing that was heard is recent.",
    "Wait.";
    /// All well.
    CalledBack, "called-back", Good,
    "The installed system called back",
    "The whole way worked.",
    "Nothing.";
}

/// Time after which a missing sign of life counts as trouble, for the times that differ from the usual minute.
pub(super) struct Patience;

impl Patience {
    /// Armed and nothing heard: servers need minutes for their self-test.
    pub(super) const ARMED: Duration = Duration::from_mins(5);
    /// Kernel start, unpacking, live system, DHCP, answer request.
    pub(super) const ANSWER: Duration = Duration::from_mins(3);
    /// Hardware takes 5 to 15 minutes.
    pub(super) const REPORT: Duration = Duration::from_mins(20);
    /// Restart with a server's self-test, first boot.
    pub(super) const CALL_BACK: Duration = Duration::from_mins(10);
}
