"""audit: the records of the audit log, as the kernel writes them (group readlog)."""

from nlbus.kernel.groups import Groups
from nlbus.schema.schema import TextSchema
from nlbus.schema.types import S64, TEXT, U32, U64, Field
from nlbus.sources.source import Source

# By the first number of each run of names; some are of audit's own library, not of <linux/audit.h>.
RECORDS = {
    1100: "USER_AUTH USER_ACCT USER_MGMT CRED_ACQ CRED_DISP USER_START USER_END USER_AVC USER_CHAUTHTOK "
    "USER_ERR CRED_REFR USYS_CONFIG USER_LOGIN USER_LOGOUT ADD_USER DEL_USER ADD_GROUP DEL_GROUP DAC_CHECK "
    "CHGRP_ID TEST TRUSTED_APP USER_SELINUX_ERR USER_CMD USER_TTY CHUSER_ID GRP_AUTH SYSTEM_BOOT "
    "SYSTEM_SHUTDOWN SYSTEM_RUNLEVEL SERVICE_START SERVICE_STOP GRP_MGMT GRP_CHAUTHTOK MAC_CHECK ACCT_LOCK "
    "ACCT_UNLOCK USER_DEVICE SOFTWARE_UPDATE",
    1200: "DAEMON_START DAEMON_END DAEMON_ABORT DAEMON_CONFIG",
    1300: "SYSCALL",
    1302: "PATH IPC SOCKETCALL CONFIG_CHANGE SOCKADDR CWD",
    1309: "EXECVE",
    1311: "IPC_SET_PERM MQ_OPEN MQ_SENDRECV MQ_NOTIFY MQ_GETSETATTR KERNEL_OTHER FD_PAIR OBJ_PID TTY EOE "
    "BPRM_FCAPS CAPSET MMAP NETFILTER_PKT NETFILTER_CFG SECCOMP PROCTITLE FEATURE_CHANGE REPLACE KERN_MODULE "
    "FANOTIFY TIME_INJOFFSET TIME_ADJNTPVAL BPF EVENT_LISTENER URINGOP OPENAT2 DM_CTRL DM_EVENT",
    1400: "AVC SELINUX_ERR AVC_PATH MAC_POLICY_LOAD MAC_STATUS MAC_CONFIG_CHANGE MAC_UNLBL_ALLOW "
    "MAC_CIPSOV4_ADD MAC_CIPSOV4_DEL MAC_MAP_ADD MAC_MAP_DEL MAC_IPSEC_ADDSA MAC_IPSEC_DELSA "
    "MAC_IPSEC_ADDSPD MAC_IPSEC_DELSPD MAC_IPSEC_EVENT MAC_UNLBL_STCADD MAC_UNLBL_STCDEL MAC_CALIPSO_ADD "
    "MAC_CALIPSO_DEL IPE_ACCESS IPE_CONFIG_CHANGE IPE_POLICY_LOAD LANDLOCK_ACCESS LANDLOCK_DOMAIN",
    1501: "APPARMOR_AUDIT APPARMOR_ALLOWED APPARMOR_DENIED APPARMOR_HINT APPARMOR_STATUS APPARMOR_ERROR "
    "APPARMOR_KILL",
    1700: "ANOM_PROMISCUOUS ANOM_ABEND ANOM_LINK ANOM_CREAT",
    1800: "INTEGRITY_DATA INTEGRITY_METADATA INTEGRITY_STATUS INTEGRITY_HASH INTEGRITY_PCR INTEGRITY_RULE "
    "INTEGRITY_EVM_XATTR INTEGRITY_POLICY_RULE",
    2000: "KERNEL",
    2400: "CRYPTO_TEST_USER CRYPTO_PARAM_CHANGE_USER CRYPTO_LOGIN CRYPTO_LOGOUT CRYPTO_KEY_USER "
    "CRYPTO_FAILURE_USER CRYPTO_REPLAY_USER CRYPTO_SESSION CRYPTO_IKE_SA CRYPTO_IPSEC_SA",
    2500: "VIRT_CONTROL VIRT_RESOURCE VIRT_MACHINE_ID VIRT_INTEGRITY_CHECK VIRT_CREATE VIRT_DESTROY "
    "VIRT_MIGRATE_IN VIRT_MIGRATE_OUT",
}

TYPES = {number: name for first, names in RECORDS.items() for number, name in enumerate(names.split(), first)}

KEYS = (
    *(Field(name, U32) for name in ("pid", "ppid", "auid", "ses", "uid", "gid", "euid", "egid")),
    *(
        Field(name, U32)
        for name in ("suid", "sgid", "fsuid", "fsgid", "opid", "ouid", "ogid", "oauid", "oses")
    ),
    Field("arch", TEXT),
    Field("syscall", U32),
    Field("success", TEXT),
    Field("exit", S64),
    *(Field(name, TEXT) for name in ("a0", "a1", "a2", "a3")),
    Field("items", U32),
    Field("comm", TEXT),
    Field("exe", TEXT),
    Field("tty", TEXT),
    Field("key", TEXT),
    Field("subj", TEXT),
    Field("op", TEXT),
    Field("acct", TEXT),
    Field("hostname", TEXT),
    Field("addr", TEXT),
    Field("terminal", TEXT),
    Field("res", TEXT),
    Field("result", TEXT),
    Field("unit", TEXT),
    Field("sig", U32),
    Field("code", TEXT),
    Field("item", U32),
    Field("name", TEXT),
    Field("inode", U64),
    Field("dev", TEXT),
    Field("mode", TEXT),
    Field("nametype", TEXT),
    Field("cwd", TEXT),
    Field("proctitle", TEXT),
    Field("argc", U32),
    Field("saddr", TEXT),
)
# The kernel writes text that users choose in quotes, or in hexadecimal digits.
ENCODED = ("comm", "exe", "key", "acct", "name", "cwd", "proctitle")

SCHEMA = TextSchema(
    name="record",
    about="records of the audit log; those with one time and serial are one event, which EOE may end",
    keys=KEYS,
    records=TYPES,
    encoded=ENCODED,
    env="fields",
    groups=("readlog",),
)

AUDIT = Source(
    name="audit",
    protocol=9,
    kernel_name="NETLINK_AUDIT",
    framing="nlmsg",
    groups={"readlog": 1},
    default=Groups(1),
    schemas=(SCHEMA,),
    types={number: f"AUDIT_{name}" for number, name in TYPES.items()},
    probe=Groups(1),
    namespaces=("net",),
    privileged=True,
    needs="joining needs CAP_AUDIT_READ in the first user namespace: run as root",
    option="CONFIG_AUDIT",
    note="almost silent until auditing is on: boot with audit=1, run auditd, or `auditctl -e 1`",
    example="nlbus listen audit",
)
