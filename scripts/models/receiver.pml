/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The lockless reads of the receiver test (patches/7.3, kvm_arch_dy_next_ipi_receiver()
 * and its caller), against everything that can happen meanwhile: vCPU 0 has sent an IPI
 * to vCPUs 1 and 2 of its VM and spins; each of the steps below is one atomic load, and
 * between any two of them receivers take the interrupt, other senders post it again, the
 * scheduler preempts and runs vCPUs, and the map of APICs is replaced by one without
 * vCPU 2, and freed. vCPU 3 is of another VM, on the same host.
 *
 * What the reads say may be stale at once. Claimed: a yield goes to a vCPU of the map,
 * that is of the VM; a map that is read has not been freed; no read and no yield changes an IRR, so an IPI that was posted is
 * pending until its receiver takes it; the walk ends after as many steps as there are
 * vCPUs; and every PAUSE exit ends.
 *
 * -DBUG_MAP puts the other VM's vCPU into the map, -DBUG_CLEAR lets the test clear
 * what it reads, and -DBUG_RCU frees a map without waiting for its readers: the checker
 * has to find all of them. -DBUG_STAY has a spinner stay for as long as somebody
 * has the vector pending.
 */
#define VCPUS	3 /* of the VM; one more is the neighbour's */
#define EXITS	2 /* PAUSE exits of the spinner */
#define POSTS	3 /* IPIs, those at the start too */
#define NOBODY	255
#define NR_IDS(m)	(m == 0 -> VCPUS : VCPUS - 1) /* vCPUs in map 0, and in the next */

bool irr[4], ready[4], running[4];
byte posted = 0, taken = 0;	/* what vCPUs 1 and 2 were sent, and served */
byte merged = 0;		/* posted while it was pending already */
bool finished = false;
byte map = 0;			/* kvm->arch.apic_map */
bool freed[2];			/* maps */
bool reading = false;		/* under rcu_read_lock() */

/* The reader: the spinner's own thread. */
proctype spinner()
{
	byte exits = 0, seen, target, steps, m;
	bool done;

	do
	:: exits == EXITS -> break
	:: else ->
		exits++;
		seen = 0; steps = 0; done = false;
		do
		:: done -> break
		:: else ->
			/* kvm_arch_dy_next_ipi_receiver() */
			reading = true;
			m = map; /* rcu_dereference() */
			target = NOBODY;
			do
			:: target != NOBODY || seen >= NR_IDS(m) -> break
			:: else ->
				assert(!freed[m]);
#ifdef BUG_MAP
				target = (seen == 2 -> 3 : seen);
#else
				target = seen;
#endif
				seen++;
				steps++;
				assert(steps <= VCPUS);
				/* READ_ONCE(vcpu->ready), which the spinner's
				 * own isn't; by the next step, it may run. */
				if
				:: !ready[target] -> target = NOBODY
				:: else ->
					if
					:: !irr[target] -> target = NOBODY
					:: else -> skip
					fi
				fi
			od;
			reading = false;
			if
			:: target == NOBODY -> break
			:: else ->
				/* A vCPU outlives the map. */
#ifdef BUG_CLEAR
				irr[target] = false;
#endif
				/* yield_to() decides under the run queues'
				 * locks, as things are now. */
				atomic {
					assert(target != 0);
					assert(target < VCPUS);
					if
					:: ready[target] && !running[target] ->
						running[target] = true;
						ready[target] = false;
						running[0] = false;
						done = true
					:: else -> skip
					fi
				}
			fi
		od;
#ifdef BUG_STAY
		do
		:: irr[1] || irr[2] -> skip
		:: else -> break
		od;
#endif
		running[0] = true
	od;
	finished = true
}

/* A receiver: takes its interrupt whenever it runs. */
proctype receiver(byte me)
{
end:	do
	:: atomic { running[me] && irr[me] -> irr[me] = false; taken++ }
	od
}

/* The scheduler preempts and runs whom it likes, of both VMs. */
proctype scheduler()
{
	byte v;

end:	do
	:: atomic {
		select(v : 1 .. 3);
		if
		:: running[v] -> running[v] = false; ready[v] = true
		:: else -> running[v] = true; ready[v] = false
		fi
	}
	od
}

/* Another vCPU sends the same vector again; so does, in its own VM, the neighbour's. */
proctype sender()
{
	byte v;

end:	do
	:: atomic {
		posted < POSTS ->
		select(v : 1 .. 2);
		posted++;
		if
		:: irr[v] -> merged++
		:: else -> irr[v] = true
		fi
	}
	od
}

/* kvm_recalculate_apic_map(), as vCPU 2 disables its APIC. */
proctype updater()
{
	map = 1; /* rcu_assign_pointer() */
#ifndef BUG_RCU
	!reading; /* kvfree_rcu() */
#endif
	freed[0] = true
}

/* At all times: nothing that was posted is lost. */
active proctype monitor()
{
end:	atomic {
		posted != taken + merged + irr[1] + irr[2] -> assert(false)
	}
}

init {
	atomic {
		posted = 2;
		irr[1] = true; irr[2] = true; irr[3] = true;
		ready[1] = true; ready[2] = true; ready[3] = true;
		running[0] = true;
		run spinner(); run receiver(1); run receiver(2);
		run scheduler(); run sender(); run updater()
	}
}

/* Every PAUSE exit ends, whatever the others do. */
ltl ends { <> finished }
