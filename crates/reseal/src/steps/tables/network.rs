//! What belongs to one place in one network.

use super::TABLE;
use crate::Action::{BlankValue, ClearFolder, ClearSubkeys, DeleteValue, SetDword};
use crate::steps::{Evidence, Spec};

const IPV4: &str = r"HKLM\SYSTEM\CurrentControlSet\Services\Tcpip\Parameters\Interfaces\*";
const IPV6: &str = r"HKLM\SYSTEM\CurrentControlSet\Services\Tcpip6\Parameters\Interfaces\*";

pub(in crate::steps) static STATIC_ADDRESSES: Spec = Spec {
    id: "static-addresses",
    title: "Take back static addresses",
    about: "Every adapter asks DHCP again: EnableDHCP is 1, address, mask, gateway and name servers are empty and keep their \
            types. A clone in the same slot keeps its adapter and would keep the address. Adapters themselves stay.",
    phase: "identity",
    mirrors: &["spnet.dll!Sysprep_Generalize_Net"],
    evidence: Evidence::Inferred,
    actions: &[
        SetDword(IPV4, "EnableDHCP", 1),
        BlankValue(IPV4, "IPAddress"),
        BlankValue(IPV4, "SubnetMask"),
        BlankValue(IPV4, "DefaultGateway"),
        BlankValue(IPV4, "DefaultGatewayMetric"),
        BlankValue(IPV4, "NameServer"),
        BlankValue(IPV6, "NameServer"),
    ],
    ..TABLE
};

pub(in crate::steps) static DHCP_LEASES: Spec = Spec {
    id: "dhcp-leases",
    title: "Forget DHCP leases",
    about: "Removes what a DHCP server told each adapter, the name that the server gave, and the adapters' DHCPv6 association \
            ids; machine-ids removes the DHCP unique id.",
    phase: "identity",
    mirrors: &["dhcpcsvc.dll!DhcpClient_Generalize"],
    evidence: Evidence::Inferred,
    actions: &[
        DeleteValue(IPV4, "Dhcp*"),
        DeleteValue(IPV4, "Lease*"),
        DeleteValue(IPV4, "T1"),
        DeleteValue(IPV4, "T2"),
        DeleteValue(IPV6, "Dhcpv6*"),
        DeleteValue(r"HKLM\SYSTEM\CurrentControlSet\Services\Tcpip\Parameters", "Dhcp*"),
    ],
    ..TABLE
};

pub(in crate::steps) static NETWORK_LIST: Spec = Spec {
    id: "network-list",
    title: "Forget known networks",
    about: "Removes the list of networks that this machine has seen. The next one counts as new and gets the public firewall \
            profile: on servers that are managed by WinRM or Remote Desktop, allow those there.",
    phase: "identity",
    mirrors: &["nlmsprep.dll!NetworkListManager_Generalize"],
    actions: &[
        ClearSubkeys(r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\NetworkList\Profiles"),
        ClearSubkeys(r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\NetworkList\Signatures\Managed"),
        ClearSubkeys(r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\NetworkList\Signatures\Unmanaged"),
        ClearSubkeys(r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\NetworkList\Nla\Cache"),
    ],
    ..TABLE
};

pub(in crate::steps) static TUNNELS: Spec = Spec {
    id: "tunnels",
    title: "Forget the state of IPv6 tunnels",
    about: "Removes the interfaces that the IP helper made for Teredo, 6to4, ISATAP and IP-HTTPS; it makes them anew.",
    phase: "identity",
    mirrors: &["iphlpsvc.dll!IphlpsvcSysprepGeneralize"],
    actions: &[ClearSubkeys(r"HKLM\SYSTEM\CurrentControlSet\Services\iphlpsvc\Interfaces")],
    ..TABLE
};

pub(in crate::steps) static REGISTERED_NAMES: Spec = Spec {
    id: "registered-names",
    title: "Forget under which names this machine was known",
    about: "Removes what was registered with DNS for each adapter, the names under which the LSA knows the machine, and the \
            name that the reliability monitor compares with: Windows writes them anew when they are next needed.",
    actions: &[
        ClearSubkeys(r"HKLM\SYSTEM\CurrentControlSet\Services\Tcpip\Parameters\DNSRegisteredAdapters"),
        DeleteValue(r"HKLM\SYSTEM\CurrentControlSet\Control\Lsa\CachedMachineNames", "NameUserPrincipal"),
        DeleteValue(r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Reliability", "LastComputerName"),
    ],
    ..TABLE
};

pub(in crate::steps) static WLAN_PROFILES: Spec = Spec {
    id: "wlan-profiles",
    title: "Forget wireless networks",
    about: "Removes the profiles of wireless networks with their keys.",
    actions: &[ClearFolder(r"%ProgramData%\Microsoft\Wlansvc\Profiles\Interfaces")],
    ..TABLE
};
