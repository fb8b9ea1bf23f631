//! What `-h` prints.

use bpftables_ruleset::Family;
use std::fmt::Write;

/// The text after the line with the program's name and version and the empty line after that.
pub(crate) fn text<'t>(program: &str, family: Family, extensions: impl Iterator<Item = &'t str>) -> String {
    let mut out = String::new();
    let usages = [
        "-[ACD] chain rule-specification [options]",
        "-I chain [rulenum] rule-specification [options]",
        "-R chain rulenum rule-specification [options]",
        "-D chain rulenum [options]",
        "-[LS] [chain [rulenum]] [options]",
        "-[FZ] [chain] [options]",
        "-[NX] chain",
        "-E old-chain-name new-chain-name",
        "-P chain target [options]",
        "-h (print this help information)",
    ];
    for (index, usage) in usages.iter().enumerate() {
        let label = if index == 0 { "Usage:" } else { "      " };
        let _ = writeln!(out, "{label} {program} {usage}");
    }
    out.push('\n');
    out.push_str(COMMANDS);
    let (v4, v6) = match family {
        Family::V4 => ("Nothing", "Error"),
        Family::V6 => ("Error", "Nothing"),
    };
    let _ = writeln!(out, "    --ipv4\t-4\t\t{v4} (line is ignored by ip6tables-restore)");
    let _ = writeln!(out, "    --ipv6\t-6\t\t{v6} (line is ignored by iptables-restore)");
    out.push_str(OPTIONS);
    if family == Family::V4 {
        out.push_str("[!] --fragment\t-f\t\tonly second and further fragments\n");
    }
    out.push_str(LAST);
    for extension in extensions {
        out.push('\n');
        out.push_str(extension);
    }
    out
}

const COMMANDS: &str = "\
Commands:
Each has a short and a long form.
  --append  -A chain\t\tadd at the end of the chain
  --check   -C chain\t\tis there such a rule?
  --delete  -D chain\t\tdelete the first such rule
  --delete  -D chain rulenum
\t\t\t\tdelete by number (1 = first)
  --insert  -I chain [rulenum]
\t\t\t\tinsert at a number (default 1 = first)
  --replace -R chain rulenum
\t\t\t\treplace by number (1 = first)
  --list    -L [chain [rulenum]]
\t\t\t\tshow a rule, a chain or all chains
  --list-rules -S [chain [rulenum]]
\t\t\t\tshow them as commands
  --flush   -F [chain]\t\tdelete the rules of a chain or of all chains
  --zero    -Z [chain [rulenum]]
\t\t\t\tset counters to zero
  --new     -N chain\t\tmake a chain
  --delete-chain
            -X [chain]\t\tdelete a user's chain, or all of them
  --policy  -P chain target
\t\t\t\twhat happens at the end of a built-in chain
  --rename-chain
            -E old-chain new-chain
\t\t\t\trename a chain, and what jumps to it

Options:
";

const OPTIONS: &str = "\
[!] --protocol\t-p proto\tprotocol by number or name, such as `tcp'
[!] --source\t-s address[/mask][...]
\t\t\t\tsource addresses
[!] --destination -d address[/mask][...]
\t\t\t\tdestination addresses
[!] --in-interface -i input name[+]
\t\t\t\tthe device of arrival (a final + stands for anything)
 --jump\t-j target
\t\t\t\twhat to do with a packet (may be an extension)
  --goto      -g chain
\t\t\t       go on in a chain, without coming back
  --match\t-m match
\t\t\t\ta further condition (an extension)
  --numeric\t-n\t\taddresses and ports as numbers
[!] --out-interface -o output name[+]
\t\t\t\tthe device of departure (a final + stands for anything)
  --table\t-t table\tthe table (`filter' if not given)
  --verbose\t-v\t\ttell more
  --wait\t-w [seconds]\tseconds to wait for the xtables lock
  --line-numbers\t\tnumber the rules of a listing
  --exact\t-x\t\tcounters in full
";

const LAST: &str = "  --modprobe=<command>\t\ttaken and ignored: there are no modules to load
  --set-counters -c PKTS BYTES\tcounters of the rule that is made
[!] --version\t-V\t\tprint the version
";

pub(crate) const STANDARD: &str = "standard match options:\n(with ACCEPT, DROP, RETURN or no target)\n";

pub(crate) const ADDRTYPE: &str = "\
Address type match options:
 [!] --src-type type[,...]      type of the source address
 [!] --dst-type type[,...]      type of the destination address
     --limit-iface-in           as the device of arrival sees it
     --limit-iface-out          as the device of departure sees it

Valid types:           
                                UNSPEC
                                UNICAST
                                LOCAL
                                BROADCAST
                                ANYCAST
                                MULTICAST
                                BLACKHOLE
                                UNREACHABLE
                                PROHIBIT
                                THROW
                                NAT
                                XRESOLVE
";

pub(crate) const COMMENT: &str = "comment match options:\n--comment COMMENT             a remark on the rule\n";

pub(crate) const CONNMARK: &str =
    "connmark match options:\n[!] --mark value[/mask]    the connection's mark, of which the mask's bits count\n";

pub(crate) const CONNTRACK: &str = "\
conntrack match options:
[!] --ctstate {INVALID|ESTABLISHED|NEW|RELATED|UNTRACKED|SNAT|DNAT}[,...]
                               states
[!] --ctproto proto            protocol by number or name, such as \"tcp\"
[!] --ctorigsrc address[/mask]
[!] --ctorigdst address[/mask]
[!] --ctreplsrc address[/mask]
[!] --ctrepldst address[/mask]
                               source or destination of either direction
[!] --ctorigsrcport port
[!] --ctorigdstport port
[!] --ctreplsrcport port
[!] --ctrepldstport port
                               its port (TCP, UDP, SCTP)
[!] --ctstatus {NONE|EXPECTED|SEEN_REPLY|ASSURED|CONFIRMED}[,...]
                               status flags
[!] --ctexpire time[:time]     seconds left, one number or a range
    --ctdir {ORIGINAL|REPLY}   the packet's direction
";

pub(crate) const STATE: &str = "\
state match options:
 [!] --state [INVALID|ESTABLISHED|NEW|RELATED|UNTRACKED][,...]
\t\t\t\tstates
";

pub(crate) const ICMP: &str = "\
icmp match options:
[!] --icmp-type typename\ttype by name
[!] --icmp-type type[/code]\t(or type, or type/code, by number)
Valid ICMP Types:
any
echo-reply (pong)
destination-unreachable
   network-unreachable
   host-unreachable
   protocol-unreachable
   port-unreachable
   fragmentation-needed
   source-route-failed
   network-unknown
   host-unknown
   network-prohibited
   host-prohibited
   TOS-network-unreachable
   TOS-host-unreachable
   communication-prohibited
   host-precedence-violation
   precedence-cutoff
source-quench
redirect
   network-redirect
   host-redirect
   TOS-network-redirect
   TOS-host-redirect
echo-request (ping)
router-advertisement
router-solicitation
time-exceeded (ttl-exceeded)
   ttl-zero-during-transit
   ttl-zero-during-reassembly
parameter-problem
   ip-header-bad
   required-option-missing
timestamp-request
timestamp-reply
address-mask-request
address-mask-reply
";

pub(crate) const ICMP6: &str = "\
icmpv6 match options:
[!] --icmpv6-type typename\ttype by name
\t\t\t\t(or type, or type/code, by number)
Valid ICMPv6 Types:
destination-unreachable
   no-route
   communication-prohibited
   beyond-scope
   address-unreachable
   port-unreachable
   failed-policy
   reject-route
packet-too-big
time-exceeded (ttl-exceeded)
   ttl-zero-during-transit
   ttl-zero-during-reassembly
parameter-problem
   bad-header
   unknown-header-type
   unknown-option
echo-request (ping)
echo-reply (pong)
mld-listener-query
mld-listener-report
mld-listener-done (mld-listener-reduction)
router-solicitation
router-advertisement
neighbour-solicitation (neighbor-solicitation)
neighbour-advertisement (neighbor-advertisement)
redirect
";

pub(crate) const LIMIT: &str = "\
limit match options:
--limit avg\t\t\taverage rate, 3/hour if not given
                                [per second, or with 
                                /sec /minute /hour /day after it]
--limit-burst number\t\thow many may come at once, 5 if not given
";

pub(crate) const MARK: &str =
    "mark match options:\n[!] --mark value[/mask]    the packet's mark, of which the mask's bits count\n";

pub(crate) const MULTIPORT: &str = "\
multiport match options:
[!] --source-ports port[,port:port,port...]
 --sports ...
\t\t\t\tsource ports
[!] --destination-ports port[,port:port,port...]
 --dports ...
\t\t\t\tdestination ports
[!] --ports port[,port:port,port]
\t\t\t\tsource or destination ports
";

pub(crate) const RECENT: &str = "\
recent match options:
[!] --set                       put the source address on the list; always matches.
[!] --rcheck                    is the source address on the list?
[!] --update                    the same, and if so note the time anew.
[!] --remove                    the same, and if so take it off the list.
    --seconds seconds           with check and update: only if seen in the last so many seconds.
    --reap                      forget what is older than 'seconds'.
    --hitcount hits             with check and update: only if seen so often.
    --rttl                      with check and update: only with the TTL that it had when it was set.
    --name name                 the list, DEFAULT if not given.
    --rsource                   go by the source address (default).
    --rdest                     go by the destination address.
    --mask netmask              apply this mask to the address.
";

pub(crate) const STATISTIC: &str = "\
statistic match options:
 --mode mode                    how to choose (random, nth)
 random mode:
[!] --probability p\t\t Probability
 nth mode:
[!] --every n\t\t\t one packet of n
 --packet p\t\t\t which of them (0 <= p <= n-1, 0 if not given)
";

pub(crate) const TCP: &str = "\
tcp match options:
[!] --tcp-flags mask comp\tof the flags in mask, just those of comp are set
\t\t\t\t(Flags: SYN ACK FIN RST URG PSH ALL NONE)
[!] --syn\t\t\tof SYN, RST, ACK and FIN, just SYN is set
\t\t\t\t(the same as --tcp-flags SYN,RST,ACK,FIN SYN)
[!] --source-port port[:port]
 --sport ...
\t\t\t\tsource port or ports
[!] --destination-port port[:port]
 --dport ...
\t\t\t\tdestination port or ports
[!] --tcp-option number        there is such a TCP option
";

pub(crate) const UDP: &str = "\
udp match options:
[!] --source-port port[:port]
 --sport ...
\t\t\t\tsource port or ports
[!] --destination-port port[:port]
 --dport ...
\t\t\t\tdestination port or ports
";

pub(crate) const CONNMARK_TARGET: &str = "\
CONNMARK target options:
  --set-xmark value[/ctmask]    clear the mask's bits, then XOR with the value
  --save-mark [--ctmask mask] [--nfmask mask]
                                from the packet to the connection
  --restore-mark [--ctmask mask] [--nfmask mask]
                                from the connection to the packet
  --set-mark value[/mask]       set the connection's mark
  --save-mark [--mask mask]     from the packet to the connection
  --restore-mark [--mask mask]  from the connection to the packet
  --and-mark value              AND with the value
  --or-mark value               OR with the value
  --xor-mark value              XOR with the value
  --left-shift-mark value       shift the mark to the left first
  --right-shift-mark value      shift the mark to the right first
";

pub(crate) const NOTRACK: &str = "NOTRACK does not take any options\n";

pub(crate) const MARK_TARGET: &str = "\
MARK target options:
  --set-xmark value[/mask]  clear the mask's bits, then XOR with the value
  --set-mark value[/mask]   clear the mask's bits, then OR with the value
  --and-mark bits           AND with the bits
  --or-mark bits            OR with the bits
  --xor-mark bits           XOR with the bits
";

pub(crate) const DNAT: &str = "\
DNAT target options:
 --to-destination [<ipaddr>[-<ipaddr>]][:port[-port[/port]]]
\t\t\t\tthe new destination.
[--random] [--persistent]
";

pub(crate) const SNAT: &str = "\
SNAT target options:
 --to-source [<ipaddr>[-<ipaddr>]][:port[-port]]
\t\t\t\tthe new source.
[--random] [--random-fully] [--persistent]
";

pub(crate) const MASQUERADE: &str = "\
MASQUERADE target options:
 --to-ports <port>[-<port>]
\t\t\t\tthe new source port or ports.
 --random
\t\t\t\tany source port.
 --random-fully
\t\t\t\tany source port, not to be guessed.
";

pub(crate) const REDIRECT: &str = "\
REDIRECT target options:
 --to-ports <port>[-<port>]
\t\t\t\tthe new destination port or ports.
 [--random]
";

pub(crate) const NETMAP: &str = "NETMAP target options:\n  --to address[/mask]\n\t\t\t\tthe network to map to.\n\n";

pub(crate) const REJECT: &str = "\
REJECT target options:
--reject-with type              drop the packet and answer it
                                with one of these:
Valid reject types:
    icmp-net-unreachable     \tICMP network unreachable
    net-unreach              \talias
    icmp-host-unreachable    \tICMP host unreachable
    host-unreach             \talias
    icmp-proto-unreachable   \tICMP protocol unreachable
    proto-unreach            \talias
    icmp-port-unreachable    \tICMP port unreachable (default)
    port-unreach             \talias
    icmp-net-prohibited      \tICMP network prohibited
    net-prohib               \talias
    icmp-host-prohibited     \tICMP host prohibited
    host-prohib              \talias
    tcp-reset                \tTCP RST packet
    tcp-rst                  \talias
    icmp-admin-prohibited    \tICMP administratively prohibited
    admin-prohib             \talias

";

pub(crate) const REJECT6: &str = "\
REJECT target options:
--reject-with type              drop the packet and answer it
                                with one of these:
Valid reject types:
    icmp6-no-route           \tICMPv6 no route
    no-route                 \talias
    icmp6-adm-prohibited     \tICMPv6 administratively prohibited
    adm-prohibited           \talias
    icmp6-addr-unreachable   \tICMPv6 address unreachable
    addr-unreach             \talias
    icmp6-port-unreachable   \tICMPv6 port unreachable (default)
    port-unreach             \talias
    tcp-reset                \tTCP RST packet
    tcp-reset                \talias
    icmp6-policy-fail        \tICMPv6 policy fail
    policy-fail              \talias
    icmp6-reject-route       \tICMPv6 reject route
    reject-route             \talias

";
