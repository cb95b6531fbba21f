//! The abbreviations of SDDL, [MS-DTYP] 2.5.1.

use crate::ace_type as t;

/// ACE types and their abbreviations.
pub(super) const ACE_TYPES: &[(u8, &str)] = &[
    (t::ACCESS_ALLOWED, "A"),
    (t::ACCESS_DENIED, "D"),
    (t::SYSTEM_AUDIT, "AU"),
    (t::SYSTEM_ALARM, "AL"),
    (t::ACCESS_ALLOWED_OBJECT, "OA"),
    (t::ACCESS_DENIED_OBJECT, "OD"),
    (t::SYSTEM_AUDIT_OBJECT, "OU"),
    (t::SYSTEM_ALARM_OBJECT, "OL"),
    (t::ACCESS_ALLOWED_CALLBACK, "XA"),
    (t::ACCESS_DENIED_CALLBACK, "XD"),
    (t::ACCESS_ALLOWED_CALLBACK_OBJECT, "ZA"),
    (t::SYSTEM_AUDIT_CALLBACK, "XU"),
    (t::SYSTEM_MANDATORY_LABEL, "ML"),
    (t::SYSTEM_RESOURCE_ATTRIBUTE, "RA"),
    (t::SYSTEM_SCOPED_POLICY_ID, "SP"),
    (t::SYSTEM_PROCESS_TRUST_LABEL, "TL"),
    (t::SYSTEM_ACCESS_FILTER, "FL"),
];

/// ACE flags in the order Windows prints them.
pub(super) const ACE_FLAGS: &[(u32, &str)] =
    &[(0x01, "OI"), (0x02, "CI"), (0x04, "NP"), (0x08, "IO"), (0x10, "ID"), (0x40, "SA"), (0x80, "FA"), (0x20, "CR")];

/// Whole masks that have a name of their own.
pub(super) const MASKS: &[(u32, &str)] = &[
    (0x001f_01ff, "FA"),
    (0x0012_0089, "FR"),
    (0x0012_0116, "FW"),
    (0x0012_00a0, "FX"),
    (0x000f_003f, "KA"),
    (0x0002_0019, "KR"),
    (0x0002_0006, "KW"),
];

/// Single rights, in the order Windows prints them. Generic, standard, then object rights.
pub(super) const RIGHTS: &[(u32, &str)] = &[
    (0x1000_0000, "GA"),
    (0x8000_0000, "GR"),
    (0x4000_0000, "GW"),
    (0x2000_0000, "GX"),
    (0x0000_0001, "CC"),
    (0x0000_0002, "DC"),
    (0x0000_0004, "LC"),
    (0x0000_0008, "SW"),
    (0x0000_0010, "RP"),
    (0x0000_0020, "WP"),
    (0x0000_0040, "DT"),
    (0x0000_0080, "LO"),
    (0x0000_0100, "CR"),
    (0x0001_0000, "SD"),
    (0x0002_0000, "RC"),
    (0x0004_0000, "WD"),
    (0x0008_0000, "WO"),
];

/// Rights of a mandatory label.
pub(super) const LABEL_RIGHTS: &[(u32, &str)] = &[(1, "NW"), (2, "NR"), (4, "NX")];

/// Well-known SIDs that do not depend on a domain.
pub(super) const SIDS: &[(&str, &str)] = &[
    ("S-1-1-0", "WD"),
    ("S-1-3-0", "CO"),
    ("S-1-3-1", "CG"),
    ("S-1-3-4", "OW"),
    ("S-1-5-2", "NU"),
    ("S-1-5-4", "IU"),
    ("S-1-5-6", "SU"),
    ("S-1-5-7", "AN"),
    ("S-1-5-9", "ED"),
    ("S-1-5-10", "PS"),
    ("S-1-5-11", "AU"),
    ("S-1-5-12", "RC"),
    ("S-1-5-18", "SY"),
    ("S-1-5-19", "LS"),
    ("S-1-5-20", "NS"),
    ("S-1-5-33", "WR"),
    ("S-1-5-32-544", "BA"),
    ("S-1-5-32-545", "BU"),
    ("S-1-5-32-546", "BG"),
    ("S-1-5-32-547", "PU"),
    ("S-1-5-32-548", "AO"),
    ("S-1-5-32-549", "SO"),
    ("S-1-5-32-550", "PO"),
    ("S-1-5-32-551", "BO"),
    ("S-1-5-32-552", "RE"),
    ("S-1-5-32-554", "RU"),
    ("S-1-5-32-555", "RD"),
    ("S-1-5-32-556", "NO"),
    ("S-1-5-32-558", "MU"),
    ("S-1-5-32-559", "LU"),
    ("S-1-5-32-568", "IS"),
    ("S-1-5-32-569", "CY"),
    ("S-1-5-32-573", "ER"),
    ("S-1-5-32-574", "CD"),
    ("S-1-5-32-575", "RA"),
    ("S-1-5-32-576", "ES"),
    ("S-1-5-32-577", "MS"),
    ("S-1-5-32-578", "HA"),
    ("S-1-5-32-579", "AA"),
    ("S-1-5-32-580", "RM"),
    ("S-1-15-2-1", "AC"),
    ("S-1-16-4096", "LW"),
    ("S-1-16-8192", "ME"),
    ("S-1-16-8448", "MP"),
    ("S-1-16-12288", "HI"),
    ("S-1-16-16384", "SI"),
];

/// Operators of conditional expressions with their precedence: 0 unary prefix, then rising from `||`.
pub(super) const OPERATORS: &[(u8, &str, u8)] = &[
    (0x80, "==", 3),
    (0x81, "!=", 3),
    (0x82, "<", 3),
    (0x83, "<=", 3),
    (0x84, ">", 3),
    (0x85, ">=", 3),
    (0x86, "Contains", 3),
    (0x88, "Any_of", 3),
    (0x8e, "Not_Contains", 3),
    (0x8f, "Not_Any_of", 3),
    (0x87, "Exists", 0),
    (0x8d, "Not_Exists", 0),
    (0x89, "Member_of", 0),
    (0x8a, "Device_Member_of", 0),
    (0x8b, "Member_of_Any", 0),
    (0x8c, "Device_Member_of_Any", 0),
    (0x90, "Not_Member_of", 0),
    (0x91, "Not_Device_Member_of", 0),
    (0x92, "Not_Member_of_Any", 0),
    (0x93, "Not_Device_Member_of_Any", 0),
    (0xa0, "&&", 2),
    (0xa1, "||", 1),
    (0xa2, "!", 0),
];

/// Attribute tokens and their prefixes.
pub(super) const ATTRIBUTES: &[(u8, &str)] = &[(0xf9, "@User."), (0xfa, "@Resource."), (0xfb, "@Device."), (0xf8, "")];
