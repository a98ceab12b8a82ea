# Stops in one thread of a kernel on the simulated GPU and steps on; see 6-how-a-kernel-runs.md.
set pagination off
set print address off
set style enabled off
set confirm off
set filename-display basename
set print inferior-events off
set environment TAPER_SIM_SEED 0

echo \n(1) stop where thread 33 of block 2 begins\n
tbreak block_sum if blockIdx.x == 2 && threadIdx.x == 33
run

echo \n(2) it fetches its number\n
next
next
next
next
print i
print partial[33]

echo \n(3) a barrier: the first thread to come out of it need not be this one\n
tbreak 6-how-a-kernel-runs.md:22 if blockIdx.x == 2 && threadIdx.x == 1
continue
print threadIdx
print partial[1]
print partial[33]

echo \n(4) one addition later\n
next
print partial[1]
kill
