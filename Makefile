# ediy: E-DIY in C.  `make help` lists what can be made.
#
# Rooms and their order are in docs/architecture.md. Sources of TWICE are compiled for float and for double (ref/base/real.h);
# everything else once.

BUILD    ?= build
ifeq ($(origin CC),default)
CC := gcc
endif
ARCH     ?= native
OPT      ?= -O3
PREFIX   ?= /usr/local
PKG_CONFIG ?= pkg-config
$(if $(word 2,$(BUILD)),$(error BUILD=$(BUILD): make takes no name with blanks in it; choose another))
PKGS     := openblas libpng libjpeg jansson cairo
PACKAGES := gcc pkg-config libopenblas-openmp-dev libpng-dev libjpeg62-turbo-dev libjansson-dev libcairo2-dev fonts-dejavu-core libcmocka-dev

# WERROR=1: a warning is an error, as in .ci/run. Not by default: another compiler warns of other things, and the program it makes is well.
WARN     := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wcast-qual -Wwrite-strings \
            -Wvla -Wundef -Wformat=2 -Wno-format-nonliteral -Wno-psabi $(if $(WERROR),-Werror)
# -Wno-psabi: how a vector of panel.c would be returned differs between processors, and no such call leaves its file.
# -ffp-contract=off: a * b + c rounds twice, as written; the compiler adds no fused operation to a plain loop.
# -fno-tree-slp-vectorize: of three (double)(float)x side by side gcc 12 rounds one (tests/oracle/test_formula.c). Loops are vectorised all the same.
# -fno-builtin-fmax on 64-bit ARM: there gcc 12 ends in an internal error at loops of fmax(double, (double)float); a call is what it is on x86-64.
FMAX     := $(if $(findstring aarch64,$(shell $(CC) -dumpmachine 2>/dev/null)),-fno-builtin-fmax)
# What must not be missing is added to the flags that are given (override: also to those behind make), those of a distribution for one.
# -ffile-prefix-map: the same bytes in whatever folder they are made.
MARCH    := $(if $(ARCH),-march=$(ARCH))
override CFLAGS   += -std=c17 $(OPT) -g '-ffile-prefix-map=$(CURDIR)=.' $(MARCH) -fopenmp -fPIC -fvisibility=hidden -ffp-contract=off -fno-math-errno -fno-trapping-math \
            -fno-tree-slp-vectorize $(FMAX) $(WARN) $(EXTRA_CFLAGS)
override CPPFLAGS += -D_POSIX_C_SOURCE=200809L -Iref -I. -Itests $(shell $(PKG_CONFIG) --cflags $(PKGS) 2>/dev/null)
override LDLIBS   += $(shell $(PKG_CONFIG) --libs $(PKGS) 2>/dev/null) -lpthread -lm
override LDFLAGS  += -fopenmp $(EXTRA_LDFLAGS)
# Programs of the bundle (cuda-bundle, below) find its libraries from where they lie themselves, and so do libraries what they need: no variable has to
# tell them, which Python and what else runs there would read, too.
override LDFLAGS  += $(if $(BUNDLED),-Wl$(comma)--disable-new-dtags '-Wl$(comma)-rpath$(comma)$$ORIGIN/lib:$$ORIGIN/../lib:$$ORIGIN/../../lib')

comma := ,
# Quiet, unless V=1.
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-4s %s\n' $(1) $@)

# ---- sources -------------------------------------------------------------------------------------------------------------------------
TWICE := ref/base/blas.c $(wildcard ref/op/*.c ref/model/*.c ref/eval/*.c ref/api/twice/*.c) \
         $(wildcard ref/image/augment*.c ref/image/resize.c ref/image/colour.c ref/image/blur.c)
ONCE  := $(filter-out $(TWICE),$(wildcard ref/base/*.c ref/image/*.c ref/train/*.c ref/api/*.c))
ORACLE_TWICE := $(wildcard oracle/twice/*.c)
# The plain backend is compiled a second time, with its faults, for the mutation build; what drives faults is there alone.
MUTATION     := oracle/verb_mutate.c $(wildcard oracle/mutants/mutate_*.c)
PLAIN        := $(filter-out $(MUTATION),$(wildcard oracle/mutants/*.c))
ORACLE_ONCE  := $(filter-out oracle/main.c $(MUTATION),$(wildcard oracle/*.c oracle/mutants/*.c))
EDIY_MAIN    := $(wildcard ref/program/*.c)
TEST_TWICE := $(wildcard tests/op/test_*.c tests/model/test_*.c tests/eval/test_*.c tests/image/test_*.c)
TEST_ONCE  := $(wildcard tests/base/test_*.c tests/train/test_*.c tests/program/test_*.c tests/oracle/test_*.c)
TEST_SUPPORT := $(wildcard tests/support/*.c)

O32 = $(patsubst %.c,$(BUILD)/f32/%.o,$(1))
O64 = $(patsubst %.c,$(BUILD)/f64/%.o,$(1))
LIB_OBJECTS := $(call O32,$(TWICE) $(ONCE)) $(call O64,$(TWICE))
ORACLE_OBJECTS := $(call O32,$(ORACLE_TWICE) $(ORACLE_ONCE)) $(call O64,$(ORACLE_TWICE))
TESTS := $(patsubst tests/%.c,$(BUILD)/tests/%_f32,$(TEST_TWICE)) $(patsubst tests/%.c,$(BUILD)/tests/%_f64,$(TEST_TWICE)) \
         $(patsubst tests/%.c,$(BUILD)/tests/%,$(TEST_ONCE))

.PHONY: all help deps demo check tests lint clean FORCE
.DELETE_ON_ERROR:
# Objects of the tests are kept. Named one by one: to be secondary also means that nothing is made again where one is missing, which
# must not hold for the members of the libraries.
.SECONDARY: $(call O32,$(TEST_TWICE) $(TEST_ONCE) $(TEST_SUPPORT) $(wildcard tests/cuda/test_*.c tests/cuda/ptx/*.c tests/bench/*.c)) $(call O64,$(TEST_TWICE)) \
            $(patsubst %.c,build-fuzz/%.o,$(wildcard tests/fuzz/*.c))

all: $(if $(EDIY_MAIN),$(BUILD)/ediy) $(if $(wildcard oracle/main.c),$(BUILD)/oracle) ## build the programs

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

deps: ## install the Debian packages that are missing
	@sh .ci/deps $(PACKAGES)

$(BUILD)/f32/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(CPPFLAGS) -DEDIY_REAL_BITS=32 $(CFLAGS) -MMD -MP -c $< -o $@
$(BUILD)/f64/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(CPPFLAGS) -DEDIY_REAL_BITS=64 $(CFLAGS) -MMD -MP -c $< -o $@

# Where fused multiply-adds are meant: the yardstick of the benchmark.
$(BUILD)/f32/ref/program/peak.o: override CFLAGS += -ffp-contract=fast

$(BUILD)/libediy.a: $(LIB_OBJECTS)
	@rm -f $@
	@mkdir -p $(@D)
	$(call say,AR)
	$(Q)$(AR) rcs $@ $^
$(BUILD)/liboracle.a: $(ORACLE_OBJECTS)
	@rm -f $@
	@mkdir -p $(@D)
	$(call say,AR)
	$(Q)$(AR) rcs $@ $^
# The pick of a backend with CUDA in it. In front of the library it takes the place of the library's own.
$(BUILD)/f32/ref/train/backends_cuda.o: ref/train/backends.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(CPPFLAGS) -DEDIY_REAL_BITS=32 -DEDIY_CUDA $(CFLAGS) -MMD -MP -c $< -o $@
# make CUDA=1: programs with the CUDA backend. The file makes another choice than the last link's a reason to link again.
CUDA ?=
WITH_CUDA := $(if $(filter-out 0 no,$(CUDA)),yes)
$(BUILD)/with-cuda: FORCE
	@mkdir -p $(@D)
	@echo '$(WITH_CUDA)' | cmp -s - $@ || echo '$(WITH_CUDA)' >$@
FORCE:
PICK_CUDA    = $(if $(WITH_CUDA),$(BUILD)/f32/ref/train/backends_cuda.o)
PROGRAM_CUDA = $(if $(WITH_CUDA),$(BUILD)/cuda/libediy_cuda.a)
link_program = $(Q)$(CC) $(LDFLAGS) $(filter %.o %.a,$^) $(LDLIBS) $(if $(WITH_CUDA),$(CUDA_LDLIBS)) -o $@
# make MPI=1: ediy train runs over several processes, started by mpirun or srun (docs/ranks.md). The compiler is told through MPI's own wrapper, Open
# MPI's or MPICH's.
MPI   ?=
MPI_PACKAGES := openmpi-bin libopenmpi-dev procps
MPICC ?= $(firstword $(shell command -v mpicc 2>/dev/null))
WITH_MPI := $(if $(filter-out 0 no,$(MPI)),yes)
$(if $(and $(WITH_MPI),$(if $(MPICC),,missing)),$(error MPI=1 needs mpicc: apt-get install openmpi-bin libopenmpi-dev))
OVER_MPI = OMPI_CC="$(CC)" MPICH_CC="$(CC)" $(MPICC)
$(BUILD)/with-mpi: FORCE
	@mkdir -p $(@D)
	@echo '$(WITH_MPI)' | cmp -s - $@ || echo '$(WITH_MPI)' >$@
$(BUILD)/f32/ref/train/launch_mpi.o: ref/train/launch.c
	@mkdir -p $(@D)
	$(call say,MPICC)
	$(Q)$(OVER_MPI) $(CPPFLAGS) -DEDIY_REAL_BITS=32 -DEDIY_MPI $(CFLAGS) -MMD -MP -c $< -o $@
# What tests start under mpirun, where there is one.
$(if $(MPICC),$(eval $(BUILD)/tests/program/test_mpi: | $(BUILD)/mpi/ediy))
PICK_MPI = $(if $(WITH_MPI),$(BUILD)/f32/ref/train/launch_mpi.o)
EDIY_OBJECTS   := $(call O32,$(EDIY_MAIN))
ORACLE_MAIN    := $(call O32,oracle/main.c ref/program/start.c)
$(BUILD)/ediy: $(EDIY_OBJECTS) $(PICK_CUDA) $(PICK_MPI) $(PROGRAM_CUDA) $(BUILD)/libediy.a $(BUILD)/with-cuda $(BUILD)/with-mpi
	$(call say,LD)
	$(Q)$(if $(WITH_MPI),$(OVER_MPI),$(CC)) $(LDFLAGS) $(filter %.o %.a,$^) $(LDLIBS) $(if $(WITH_CUDA),$(CUDA_LDLIBS)) -o $@
# The program as MPI=1 links it, beside that of the last make all.
$(BUILD)/mpi/ediy: $(EDIY_OBJECTS) $(BUILD)/f32/ref/train/launch_mpi.o $(BUILD)/libediy.a
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(OVER_MPI) $(LDFLAGS) $(filter %.o %.a,$^) $(LDLIBS) -o $@
$(BUILD)/oracle: $(ORACLE_MAIN) $(PICK_CUDA) $(BUILD)/liboracle.a $(PROGRAM_CUDA) $(BUILD)/libediy.a $(BUILD)/with-cuda
	$(call say,LD)
	$(link_program)

# The mutation build: the oracle with every fault of the plain backend as a switch, and the verb mutate. Never installed.
MUTATION_OBJECTS := $(patsubst %.c,$(BUILD)/mutation/%.o,$(PLAIN) $(MUTATION))
$(BUILD)/mutation/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(CPPFLAGS) -DEDIY_REAL_BITS=32 -DEDIY_MUTATION $(CFLAGS) -MMD -MP -c $< -o $@
$(BUILD)/oracle-mutants: $(BUILD)/mutation/oracle/main.o $(MUTATION_OBJECTS) $(call O32,ref/program/start.c) $(BUILD)/liboracle.a $(BUILD)/libediy.a
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) $^ $(LDLIBS) -o $@
.PHONY: mutants oracle-proof
mutants: $(BUILD)/oracle-mutants ## the oracle with faults to find: build/oracle-mutants mutate

# What the oracle finds and what it must not find, counted: docs/oracle.md has the figures. PROOF_RUNS, PROOF_CASES: how much.
PROOF_RUNS  ?= 10000
PROOF_CASES ?= 24
oracle-proof: $(BUILD)/oracle-mutants $(BUILD)/oracle $(BUILD)/tests/oracle/test_mutant_steps ## every fault of the catalogue, and 10,000 right runs: minutes
	@echo "== right variants"
	@$(BUILD)/oracle fuzz variants=yes repeat=no runs=$(PROOF_RUNS)
	@echo "== the reference, 1 and 3 threads"
	@for threads in 1 3; do \
	  echo "$$threads threads:"; OMP_NUM_THREADS=$$threads $(BUILD)/oracle fuzz backend=reference runs=60 seed=$$threads || exit 1; done
	@echo "== faults"
	@$(BUILD)/oracle-mutants mutate cases=$(PROOF_CASES)
	@echo "== faults in whole steps, by replay"
	@EDIY_TEST_FAULTS=1 $(BUILD)/tests/oracle/test_mutant_steps

# ---- tests ---------------------------------------------------------------------------------------------------------------------------
TEST_LIBS = $(call O32,$(TEST_SUPPORT)) $(BUILD)/liboracle.a $(BUILD)/libediy.a
$(BUILD)/tests/%_f32: $(BUILD)/f32/tests/%.o $(TEST_LIBS)
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) $^ -lcmocka $(LDLIBS) -o $@
$(BUILD)/tests/%_f64: $(BUILD)/f64/tests/%.o $(TEST_LIBS)
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) $^ -lcmocka $(LDLIBS) -o $@
$(BUILD)/tests/%: $(BUILD)/f32/tests/%.o $(TEST_LIBS)
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) $(filter %.o,$^) $(filter %.a,$^) -lcmocka $(LDLIBS) -o $@
# The catalogue of faults is in the mutation build's objects, which come before the library's.
$(BUILD)/tests/oracle/test_mutant%: $(BUILD)/f32/tests/oracle/test_mutant%.o $(MUTATION_OBJECTS) $(TEST_LIBS)
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) $^ -lcmocka $(LDLIBS) -o $@

# Parts of the program that are tested from inside.
$(BUILD)/tests/program/test_profile: $(BUILD)/f32/ref/program/profile.o
$(BUILD)/tests/program/test_pairs: $(BUILD)/f32/ref/program/pairs.o
$(BUILD)/tests/program/test_pictures: $(addprefix $(BUILD)/f32/ref/program/,picture.o draw.o bars.o)
$(BUILD)/tests/program/test_drawing: $(addprefix $(BUILD)/f32/ref/program/,picture.o draw.o chart.o)
$(BUILD)/tests/program/test_matches: $(addprefix $(BUILD)/f32/ref/program/,picture.o draw.o)

# What a test loads in front of OpenBLAS.
$(BUILD)/tests/program/old_kernels.so: tests/program/old_kernels.c
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -shared $< -o $@ -ldl

tests: $(TESTS) $(BUILD)/oracle-mutants $(BUILD)/tests/program/old_kernels.so

DEMO ?= demo
demo: deps ## install what is missing, build, and do everything once, into the folder DEMO (demo)
	@$(MAKE) --no-print-directory all
	@$(BUILD)/ediy demo out=$(DEMO)

# Tests over MPI are skipped where it cannot be installed.
check: deps ## install what is missing, build, run every test
	@sh .ci/deps $(MPI_PACKAGES) || echo "check: without MPI"
	@$(MAKE) --no-print-directory all tests
	@BUILD=$(BUILD) sh tests/run.sh $(TESTS)

# ---- other ways to look at the same code ---------------------------------------------------------------------------------------------
# Each builds into a folder of its own, so that none disturbs the others.
SAN_TESTS ?= tests
check-clang: ## the same tests, compiled by clang
	@$(MAKE) --no-print-directory BUILD=build-clang CC=clang all tests
	@$(MAKE) --no-print-directory BUILD=build-clang CC=clang run-tests

# The kind of this machine's own processor is what make all compiles for. ARCHS=1: one of the others alone, the one that differs most.
# ARCH_BUILDS: what is compiled.
ARCHS       ?= 2
ARCH_BUILDS ?= all shim/ediy
check-archs: ## compile for the other two of x86-64-v2, v3 and v4: what gcc warns of depends on the processor
	@[ "$$(uname -m)" = x86_64 ] || { echo "check-archs: skipped, this is no x86-64"; exit 0; }; \
	case $$($(CC) -march=native -dM -E - </dev/null | tr '\n' ' ') in *__AVX512F__*) others="2 3" ;; *__AVX2__*) others="4 2" ;; *) others="4 3" ;; esac; \
	for v in $$(echo $$others | cut -d' ' -f1-$(ARCHS)); do $(MAKE) --no-print-directory BUILD=build-v$$v ARCH=x86-64-v$$v $(patsubst build-v$$v/all,all,$(addprefix build-v$$v/,$(ARCH_BUILDS))) || exit 1; done

# What is trained and measured is the same to the bit by any compiler, for any processor with fused multiply-adds (docs/numerics.md).
check-bits: all ## trains and evaluates as compiled for x86-64-v3 and -v4 and by clang, and compares the bytes
	@programs="$(BUILD)/ediy"; if [ "$$(uname -m)" = x86_64 ]; then for v in 3 4; do \
	  $(MAKE) --no-print-directory BUILD=build-v$$v ARCH=x86-64-v$$v build-v$$v/ediy || exit 1; programs="$$programs build-v$$v/ediy"; done; fi; \
	if command -v clang >/dev/null; then $(MAKE) --no-print-directory BUILD=build-clang CC=clang build-clang/ediy || exit 1; programs="$$programs build-clang/ediy"; \
	else echo "check-bits: without clang, which is not there"; fi; sh tests/same_bits.sh $$programs

# Debian's libraries for it lie beside this machine's own (CONTRIBUTING.md). A program that starts another needs the kernel to start those of
# ARM by qemu, which binfmt-support arranges; where the machine is ARM itself, make check is all there is to do.
ARM := aarch64-linux-gnu
check-arm: ## the same tests, compiled for 64-bit ARM and run by qemu
	@for t in $(ARM)-gcc $(ARM)-g++; do command -v $$t >/dev/null || { echo "check-arm: skipped, $$t is missing (CONTRIBUTING.md)"; exit 0; }; done; \
	export PKG_CONFIG_LIBDIR=/usr/lib/$(ARM)/pkgconfig:/usr/share/pkgconfig; \
	pkg-config --exists $(PKGS) || { echo "check-arm: skipped, libraries for arm64 are missing (CONTRIBUTING.md)"; exit 0; }; \
	on_arm() { $(MAKE) --no-print-directory BUILD=build-arm CC=$(ARM)-gcc CXX=$(ARM)-g++ ARCH=armv8-a MPICC= "$$@"; }; \
	on_arm all tests || exit 1; \
	build-arm/ediy --version || { echo "check-arm: compiled; not run, as nothing here runs programs for ARM (CONTRIBUTING.md)"; exit 0; }; \
	on_arm run-tests

check-asan: ## AddressSanitizer and UndefinedBehaviorSanitizer, over every test
	@$(MAKE) --no-print-directory BUILD=build-asan OPT=-O1 EXTRA_CFLAGS="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer" \
	  EXTRA_LDFLAGS="-fsanitize=address,undefined" all tests
	@LSAN_OPTIONS="suppressions='$(CURDIR)/tests/leaks.supp':print_suppressions=0" ASAN_OPTIONS=detect_leaks=1 $(MAKE) --no-print-directory BUILD=build-asan run-tests

# libgomp is not built for ThreadSanitizer and would be reported: one OpenMP thread, and the loader's own POSIX threads under test. gcc's
# maybe-uninitialized has false alarms in instrumented code.
check-tsan: ## ThreadSanitizer, over the loader
	@$(MAKE) --no-print-directory BUILD=build-tsan OPT=-O1 EXTRA_CFLAGS="-fsanitize=thread -Wno-maybe-uninitialized" EXTRA_LDFLAGS="-fsanitize=thread" build-tsan/tests/train/test_loader
	@OMP_NUM_THREADS=1 BUILD=build-tsan sh tests/run.sh build-tsan/tests/train/test_loader

# libjpeg-turbo's vector code reads the padding of its rows, which valgrind reports: JSIMD_FORCENONE has it use its plain code.
# valgrind 3.19 knows AVX2, not AVX-512; OpenMP's threads wait forever under it, so one. The parsers and the small operations.
VALGRIND_TESTS = base/test_safetensors base/test_file base/test_options image/test_png_f32 image/test_jpeg_f32 op/test_conv_f32 op/test_panel_f32 op/test_norm_f32 op/test_loss_f32 model/test_net_f32 \
                 oracle/test_memory_case oracle/test_dump
check-valgrind: ## valgrind, over parsers and operations
	@$(MAKE) --no-print-directory BUILD=build-valgrind ARCH=x86-64-v3 OPT=-O1 $(addprefix build-valgrind/tests/,$(VALGRIND_TESTS))
	@for t in $(VALGRIND_TESTS); do echo "== $$t"; \
	  EDIY_TEST_VALGRIND=1 JSIMD_FORCENONE=1 OMP_NUM_THREADS=1 OPENBLAS_CORETYPE=Haswell valgrind -q --error-exitcode=1 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
	  build-valgrind/tests/$$t >/dev/null || exit 1; done; echo "valgrind: nothing found"

.PHONY: run-tests check-clang check-archs check-bits check-arm check-asan check-tsan check-valgrind check-torch check-kill fuzz demo bench bench-dump bench-peer install
run-tests:
	@BUILD=$(BUILD) sh tests/run.sh $(TESTS)

check-kill: $(BUILD)/tests/train/test_interruption ## kill -9 a training run at 50 random moments and go on from each
	@EDIY_TEST_KILLS=50 BUILD=$(BUILD) sh tests/run.sh $(BUILD)/tests/train/test_interruption

# Speed, never asserted. BENCH=key=value... is handed to ediy bench; PEER names the PyTorch script to be measured beside it, turn by turn.
BENCH ?= backbone=resnet50 size=224 batch=16
ROUNDS ?= 3
PYTHON ?= python3
PEER ?= ../shared/peer/ediy_torch.py
bench: all ## time a training step part by part (BENCH="key=value...")
	@$(BUILD)/ediy bench $(BENCH) json=$(BUILD)/bench.json && echo "also as $(BUILD)/bench.json"
BENCH_DUMP ?= backbone=resnet50 batch=2
bench-dump: $(BUILD)/tests/bench/bench_dump ## what dumping a step costs, beside a plain step (BENCH_DUMP="key=value...")
	@$< $(BUILD)/bench-dump $(BENCH_DUMP)
bench-peer: all ## the same beside a PyTorch script (PEER), interleaved, with the ratio
	@BUILD=$(BUILD) PYTHON=$(PYTHON) PEER=$(PEER) ROUNDS=$(ROUNDS) sh tests/bench/peer.sh

# Objects of the parsers alone, compiled for libFuzzer by clang; corpora grow in build-fuzz/corpus and begin with what seeds.c writes.
FUZZ_SECONDS ?= 600
FUZZERS := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all
FUZZ_CFLAGS := -std=c17 -O1 -g $(WARN) -DEDIY_REAL_BITS=32 -fsanitize=fuzzer-no-link $(FUZZ_SANITIZE)
FUZZ_ORACLE := $(patsubst %,oracle/%.c,digest distance dump_attrs dump_name dump_read exact_sum formula precision)
FUZZ_OBJECTS := $(patsubst %.c,build-fuzz/%.o,$(filter-out $(TWICE),$(wildcard ref/base/*.c ref/image/*.c)) $(FUZZ_ORACLE))
build-fuzz/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)clang $(CPPFLAGS) $(FUZZ_CFLAGS) -MMD -MP -c $< -o $@
build-fuzz/fuzz_%: build-fuzz/tests/fuzz/fuzz_%.o $(FUZZ_OBJECTS)
	$(call say,LD)
	$(Q)clang -fsanitize=fuzzer $(FUZZ_SANITIZE) $^ $(LDLIBS) -lz -o $@
build-fuzz/seeds: build-fuzz/tests/fuzz/seeds.o $(FUZZ_OBJECTS)
	$(call say,LD)
	$(Q)clang $(FUZZ_SANITIZE) $^ $(LDLIBS) -o $@
fuzz: $(addprefix build-fuzz/fuzz_,$(FUZZERS)) build-fuzz/seeds ## libFuzzer on every parser, FUZZ_SECONDS (600) each
	@mkdir -p $(addprefix build-fuzz/corpus/,$(FUZZERS)) && build-fuzz/seeds build-fuzz/corpus
	@for f in $(FUZZERS); do \
	  build-fuzz/fuzz_$$f -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 -rss_limit_mb=4096 -timeout=20 \
	    -artifact_prefix=build-fuzz/$$f- build-fuzz/corpus/$$f 2>build-fuzz/$$f.log || \
	    { tail -30 build-fuzz/$$f.log; echo "fuzz: $$f: the input that did it is named above"; exit 1; }; \
	  awk -v f=$$f '/number_of_executed_units/ {n = $$2} /new_units_added/ {print f ": " n " inputs, " $$2 " of them new ground, no finding"}' \
	    build-fuzz/$$f.log; done
-include $(shell find build-fuzz -name '*.d' 2>/dev/null)

# Files that are not yet added to git count, too: a new file is looked at before its first commit.
SOURCES = $(shell git ls-files -co --exclude-standard '*.c' '*.h' 2>/dev/null)
CLANG_LOOKS = xargs -P "$$(getconf _NPROCESSORS_ONLN)" -n 8 clang $(CPPFLAGS) -std=c17 -fopenmp $(WARN) -Werror -fsyntax-only
lint: ## format, compiler warnings of clang, shell scripts
	@for t in clang clang-format shellcheck; do command -v $$t >/dev/null || { echo "lint: $$t is missing: apt-get install clang clang-format shellcheck"; exit 2; }; done
	@clang-format --dry-run --Werror $(SOURCES)
	@for bits in 32 64; do printf '%s\n' $(TWICE) $(ORACLE_TWICE) $(TEST_TWICE) | $(CLANG_LOOKS) -DEDIY_REAL_BITS=$$bits || exit 1; done
	@printf '%s\n' $(ONCE) $(EDIY_MAIN) oracle/main.c $(ORACLE_ONCE) $(TEST_ONCE) $(TEST_SUPPORT) $(wildcard tests/cuda/test_*.c tests/cuda/ptx/*.c) | \
	  $(CLANG_LOOKS) -DEDIY_REAL_BITS=32
	@printf '%s\n' $(PLAIN) $(MUTATION) | $(CLANG_LOOKS) -DEDIY_REAL_BITS=32 -DEDIY_MUTATION
	@shellcheck .ci/run .ci/deps $$(git ls-files -co --exclude-standard '*.sh')
	@! git grep --untracked -nE '[[:space:]]+$$' -- '*.c' '*.h' '*.sh' '*.md' Makefile || { echo "lint: spaces at line ends"; exit 1; }
	@! git grep --untracked -nE '^.{140}.*[^\\]$$' -- '*.c' '*.h' '*.cu' '*.cpp' || { echo "lint: lines of more than 140 columns, which clang-format leaves where they are comments"; exit 1; }
	@! wc -l $$(git ls-files -co --exclude-standard 'ref/*.[ch]' 'oracle/*.[ch]' 'cuda/*.cu' 'cuda/*.h') | awk '$$2 != "total" && $$1 > 400' | grep . || { echo "lint: files of more than 400 lines"; exit 1; }
	@! git grep --untracked -nE '[^_]skip\(\)' -- 'tests/*.c' 'tests/*.h' ':!tests/support/cmocka.h' || { echo "lint: a skip without its reason: skip_because"; exit 1; }
	@echo "lint: clean"

# ---- the library and its installation -------------------------------------------------------------------------------------------------------
# Objects are compiled with hidden visibility: what ref/ediy.h marks EDIY_API is exported, and nothing else. There is no static library to
# install: its inner names (fail, gemm_f32, ...) would be the caller's too.
# Loaded, a library stays: OpenMP's threads wait for more work in code that dlclose would take from under them.
STAYS := -Wl,-z,nodelete
EDIY_VERSION := $(shell sed -n 's/^\#define EDIY_VERSION "\(.*\)"/\1/p' ref/ediy.h)
# Programs find the library by the numbers whose change may change what they see: two of them while the first is 0 (ediy.h).
ABI := $(if $(filter 0.%,$(EDIY_VERSION)),$(basename $(EDIY_VERSION)),$(firstword $(subst ., ,$(EDIY_VERSION))))
SONAME := libediy.so.$(ABI)
SHARED := $(BUILD)/libediy.so.$(EDIY_VERSION)
$(SHARED): $(LIB_OBJECTS) ref/api/libediy.map Makefile
	$(call say,LD)
	$(Q)$(CC) -shared $(LDFLAGS) $(STAYS) -Wl,-soname,$(SONAME) -Wl,--version-script=ref/api/libediy.map -Wl,--as-needed \
	  $(if $(findstring -fsanitize,$(EXTRA_LDFLAGS)),,-Wl,-z,defs) $(LIB_OBJECTS) $(LDLIBS) -o $@
all: $(SHARED)

# The judge for other people's kernels (oracle/ediy_oracle.h) is a library of its own: whoever trains or reads features has no use for it, and it
# brings its own copy of the reference, so that what is judged, libediy.so included, is never what judges.
ORACLE_SONAME := libediy_oracle.so.$(ABI)
ORACLE_SHARED := $(BUILD)/libediy_oracle.so.$(EDIY_VERSION)
$(ORACLE_SHARED): $(BUILD)/f32/oracle/kernel_judge.o $(BUILD)/liboracle.a $(BUILD)/libediy.a oracle/libediy_oracle.map Makefile
	$(call say,LD)
	$(Q)$(CC) -shared $(LDFLAGS) $(STAYS) -Wl,-soname,$(ORACLE_SONAME) -Wl,--version-script=oracle/libediy_oracle.map -Wl,--as-needed \
	  $(if $(findstring -fsanitize,$(EXTRA_LDFLAGS)),,-Wl,-z,defs) $(filter %.o %.a,$^) $(LDLIBS) -o $@
all: $(ORACLE_SHARED)

INSTALL ?= install
BINDIR = $(PREFIX)/bin
LIBDIR = $(PREFIX)/lib
INCLUDEDIR = $(PREFIX)/include
MANDIR = $(PREFIX)/share/man
below_prefix = $(patsubst $(PREFIX)/%,$${prefix}/%,$(1))
PROGRAMS = $(BUILD)/ediy $(if $(wildcard oracle/main.c),$(BUILD)/oracle)
MANUALS = $(wildcard docs/man/*.1)
# What is installed names its place, in files that pkg-config divides at blanks and reads in any folder.
check_place = $(if $(word 2,$($(1))),$(error $(1)=$($(1)): pkg-config files take no name with blanks in it; choose another))$(strip \
  $(if $(filter-out /%,$($(1))),$(error $(1)=$($(1)): is not a whole path; give one that begins with /, say $(1)=$(CURDIR)/$($(1)))))
$(if $(filter install,$(MAKECMDGOALS)),$(foreach p,PREFIX LIBDIR INCLUDEDIR,$(call check_place,$p)))
.PHONY: uninstall
install: $(PROGRAMS) $(SHARED) $(ORACLE_SHARED) ## into PREFIX (/usr/local): programs, libraries, headers, pkg-config files, manual; DESTDIR stages, LIBDIR places
	$(INSTALL) -d "$(DESTDIR)$(BINDIR)" "$(DESTDIR)$(LIBDIR)/pkgconfig" "$(DESTDIR)$(INCLUDEDIR)" $(if $(MANUALS),"$(DESTDIR)$(MANDIR)/man1")
	$(INSTALL) -m 755 $(PROGRAMS) "$(DESTDIR)$(BINDIR)"
	$(INSTALL) -m 755 $(SHARED) "$(DESTDIR)$(LIBDIR)"
	ln -sf $(notdir $(SHARED)) "$(DESTDIR)$(LIBDIR)/$(SONAME)"
	ln -sf $(SONAME) "$(DESTDIR)$(LIBDIR)/libediy.so"
	$(INSTALL) -m 755 $(ORACLE_SHARED) "$(DESTDIR)$(LIBDIR)"
	ln -sf $(notdir $(ORACLE_SHARED)) "$(DESTDIR)$(LIBDIR)/$(ORACLE_SONAME)"
	ln -sf $(ORACLE_SONAME) "$(DESTDIR)$(LIBDIR)/libediy_oracle.so"
	$(INSTALL) -m 644 ref/ediy.h oracle/ediy_oracle.h "$(DESTDIR)$(INCLUDEDIR)"
	printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$(call below_prefix,$(LIBDIR))' 'includedir=$(call below_prefix,$(INCLUDEDIR))' '' 'Name: ediy' \
	  'Description: E-DIY: region matching, losses, training and features of self-supervised image networks' 'Version: $(EDIY_VERSION)' \
	  'Cflags: -I$${includedir}' 'Libs: -L$${libdir} -lediy' >"$(DESTDIR)$(LIBDIR)/pkgconfig/ediy.pc"
	printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$(call below_prefix,$(LIBDIR))' 'includedir=$(call below_prefix,$(INCLUDEDIR))' '' 'Name: ediy-oracle' \
	  'Description: says whether a kernel is right: convolution, batch norm, losses and other operations of E-DIY' 'Version: $(EDIY_VERSION)' \
	  'Cflags: -I$${includedir}' 'Libs: -L$${libdir} -lediy_oracle' >"$(DESTDIR)$(LIBDIR)/pkgconfig/ediy-oracle.pc"
	$(if $(MANUALS),$(INSTALL) -m 644 $(MANUALS) "$(DESTDIR)$(MANDIR)/man1")
uninstall: ## remove what install put into PREFIX
	rm -f "$(DESTDIR)$(BINDIR)/ediy" "$(DESTDIR)$(BINDIR)/oracle" "$(DESTDIR)$(LIBDIR)/libediy.so" "$(DESTDIR)$(LIBDIR)/$(SONAME)" "$(DESTDIR)$(LIBDIR)/$(notdir $(SHARED))" "$(DESTDIR)$(INCLUDEDIR)/ediy.h" \
	  "$(DESTDIR)$(LIBDIR)/libediy_oracle.so" "$(DESTDIR)$(LIBDIR)/$(ORACLE_SONAME)" "$(DESTDIR)$(LIBDIR)/$(notdir $(ORACLE_SHARED))" "$(DESTDIR)$(INCLUDEDIR)/ediy_oracle.h" \
	  "$(DESTDIR)$(LIBDIR)/pkgconfig/ediy.pc" "$(DESTDIR)$(LIBDIR)/pkgconfig/ediy-oracle.pc" $(foreach m,$(MANUALS),"$(DESTDIR)$(MANDIR)/man1/$(notdir $m)")

# Needs no part of PyTorch to build: the library is loaded into a Python that has it.
PYTHON ?= python3
check-torch: $(SHARED) $(BUILD)/ediy ## against PyTorch and torchvision, where PYTHON (python3) has them
	@command -v $(PYTHON) >/dev/null || { echo "check-torch: not run: there is no $(PYTHON)"; echo "0 passed, 0 failed, 1 skipped"; exit 0; }; \
	  OMP_WAIT_POLICY=passive $(PYTHON) tests/torch/check_torch.py $(SHARED) $(BUILD)/ediy

# ---- goldens: digests of whole steps in data/golden (docs/golden-format.md) ------------------------------------------------------------------
# The truth is in double; what any backend may be off by is in the manifests. GOLDEN_BACKEND: what is checked.
GOLDENS        := small resnet50
GOLDEN_BACKEND ?= ref32
GOLDEN_KEYS    := kind=digest weights=formula first=1000 states=no
.PHONY: golden golden-update
golden: all ## check this machine, or GOLDEN_BACKEND, against the golden steps
	@rm -rf $(BUILD)/golden && mkdir -p $(BUILD)/golden; status=0; for g in $(GOLDENS); do \
	  $(BUILD)/oracle dump out=$(BUILD)/golden/$$g backend=$(GOLDEN_BACKEND) $(GOLDEN_KEYS) preset=data/golden/$$g.conf && \
	  $(BUILD)/oracle check data/golden/$$g $(BUILD)/golden/$$g || status=$$?; done; exit $$status
golden-update: all ## compute the golden steps anew and say what changed; CONFIRM=yes replaces them
	@rm -rf $(BUILD)/golden-new && mkdir -p $(BUILD)/golden-new; for g in $(GOLDENS); do \
	  $(BUILD)/oracle dump out=$(BUILD)/golden-new/$$g backend=ref64 drift=6 $(GOLDEN_KEYS) preset=data/golden/$$g.conf || exit; \
	  if [ -e data/golden/$$g/manifest.json ]; then $(BUILD)/oracle check data/golden/$$g $(BUILD)/golden-new/$$g; \
	  else echo "data/golden/$$g: there was none"; fi; \
	  if [ "$(CONFIRM)" = yes ]; then rm -rf data/golden/$$g && cp -r $(BUILD)/golden-new/$$g data/golden/$$g && echo "data/golden/$$g: replaced"; \
	  else echo "data/golden/$$g: left as it is; make golden-update CONFIRM=yes replaces it"; fi; done; du -sb data/golden

.PHONY: check-oracle
check-oracle: $(BUILD)/oracle ## the oracle on PyTorch's operations, right and spoiled, where PYTHON (python3) has it
	@command -v $(PYTHON) >/dev/null || { echo "check-oracle: not run: there is no $(PYTHON)"; echo "0 passed, 0 failed, 1 skipped"; exit 0; }; \
	  OMP_WAIT_POLICY=passive $(PYTHON) tests/torch/check_oracle.py $(BUILD)/oracle

.PHONY: check-torch-step
check-torch-step: $(BUILD)/oracle ## whole steps of PyTorch, right and with one wrong option each (STEP="right resnet18"), where PYTHON has it
	@command -v $(PYTHON) >/dev/null || { echo "check-torch-step: not run: there is no $(PYTHON)"; echo "0 passed, 0 failed, 1 skipped"; exit 0; }; \
	  OMP_WAIT_POLICY=passive $(PYTHON) tests/torch/check_step.py $(BUILD)/oracle $(STEP)

# ---- cuda: the GPU backend -----------------------------------------------------------------------------------------------------------
# The same sources twice: by nvcc into a library for GPUs, and by the C++ compiler, behind tests/cuda/shim.h, into one that `make check` runs on the
# CPU. The tests are C and are linked with either. -fmad=false is -ffp-contract=off of the reference: fmaf stands where it is meant.
NVCC      ?= $(firstword $(shell command -v nvcc 2>/dev/null) $(wildcard /usr/local/cuda/bin/nvcc))
CUDA_ARCH ?= -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=[sm_90,compute_90]
CUDA_TWINS   := $(wildcard cuda/*.cu)
# Sources with instructions of Hopper's warpgroups (cuda/warpgroup.h), which no other generation has, an older or a newer one: they are compiled for it
# alone.
WARPGROUP_SOURCES := cuda/tensor_wgmma.cu tests/cuda/faulty_warpgroup.cu
$(patsubst %.cu,$(BUILD)/%.o,$(WARPGROUP_SOURCES)): override CUDA_ARCH := -gencode arch=compute_90a,code=[sm_90a,compute_90a]
CUDA_TESTS   := $(patsubst tests/%.c,%,$(filter-out tests/cuda/test_shim%,$(wildcard tests/cuda/test_*.c)))
CUDA_CPPFLAGS = -DEDIY_REAL_BITS=32 -Iref -I. -Itests
# --no-compress: PTX as text, for check-ptx.
NVCCFLAGS     = -std=c++17 -O3 -lineinfo -fmad=false --no-compress $(CUDA_ARCH) $(if $(WERROR),-Werror all-warnings) -Xcompiler -Wall,-Wextra,-fPIC,-ffp-contract=off
# What a program that links the library needs; the runtime is in it, so that it runs where only the driver is installed.
CUDA_LDLIBS   = -L$(dir $(NVCC))../lib64 -lcudart_static -lstdc++ -lrt -ldl
SHIM_CXXFLAGS = -std=c++17 $(OPT) -g $(MARCH) -fPIC -ffp-contract=off -fno-tree-slp-vectorize -fno-exceptions -fno-rtti -Wall -Wextra -Wpedantic -Wshadow -Wcast-qual \
                -Wundef $(if $(WERROR),-Werror) $(EXTRA_CFLAGS)
PACKAGES += g++

SHIM_OBJECTS := $(patsubst %,$(BUILD)/shim/%.o,$(CUDA_TWINS) $(wildcard tests/cuda/*.cu tests/cuda/*.cpp))
# The headers of cuDNN, cuBLASLt and NCCL are those of the stand-ins in tests/cuda/libraries.
$(BUILD)/shim/%.cu.o: %.cu
	@mkdir -p $(@D)
	$(call say,CXX)
	$(Q)$(CXX) $(CUDA_CPPFLAGS) -Itests/cuda/libraries $(SHIM_CXXFLAGS) -include tests/cuda/shim.h -MMD -MP -x c++ -c $< -o $@
$(BUILD)/shim/%.cpp.o: %.cpp
	@mkdir -p $(@D)
	$(call say,CXX)
	$(Q)$(CXX) $(CUDA_CPPFLAGS) $(SHIM_CXXFLAGS) -MMD -MP -c $< -o $@
$(BUILD)/shim/libediy_cuda.a: $(SHIM_OBJECTS)
	@rm -f $@
	$(call say,AR)
	$(Q)$(AR) rcs $@ $^
# The stand-ins are loaded as the libraries would be, and find the shim in the program that loads them (-rdynamic).
ifneq ($(MPICC),)
$(BUILD)/mpi/shim/ediy: $(EDIY_OBJECTS) $(BUILD)/f32/ref/train/backends_cuda.o $(BUILD)/f32/ref/train/launch_mpi.o $(BUILD)/shim/libediy_cuda.a $(BUILD)/libediy.a
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(OVER_MPI) -rdynamic $(LDFLAGS) $(filter %.o %.a,$^) $(LDLIBS) -ldl -o $@
$(BUILD)/tests/cuda/test_shim_mpi: | $(BUILD)/mpi/shim/ediy
endif
STANDINS := $(BUILD)/shim/lib/libcudnn.so.9 $(BUILD)/shim/lib/libcublasLt.so.13 $(BUILD)/shim/lib/libnccl.so.2
$(BUILD)/shim/lib/libnccl.so.2: tests/cuda/libraries/nccl.cpp
$(BUILD)/shim/lib/libcudnn.so.9: tests/cuda/libraries/cudnn.cpp
$(BUILD)/shim/lib/libcublasLt.so.13: tests/cuda/libraries/cublaslt.cpp
$(STANDINS): $(wildcard tests/cuda/libraries/*.h) tests/cuda/shim.h tests/cuda/shim_memory.h
	@mkdir -p $(@D)
	$(call say,CXX)
	$(Q)$(CXX) $(CUDA_CPPFLAGS) -Itests/cuda/libraries $(SHIM_CXXFLAGS) -shared $(EXTRA_LDFLAGS) $(filter %.cpp,$^) -o $@
$(BUILD)/tests/cuda/%: $(BUILD)/f32/tests/cuda/%.o $(call O32,tests/support/program.c tests/support/forked.c) $(BUILD)/shim/libediy_cuda.a $(BUILD)/libediy.a
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) -rdynamic $(LDFLAGS) $^ -lcmocka $(LDLIBS) -ldl -o $@
# cuDNN itself, where it is and there is no GPU: does it make plans by our calls? Needs its headers and the toolkit's. EDIY_CUDNN: its folder.
CUDNN_FOLDER = $(or $(EDIY_CUDNN),$(shell python3 -c 'import nvidia.cudnn as c; print(list(c.__path__)[0] + "/lib")' 2>/dev/null))
CUDA_FOLDER  = $(dir $(NVCC))..
.PHONY: check-cudnn
$(BUILD)/deviceless/libcudnn.so.9: tests/cuda/libraries/deviceless.cpp
	@mkdir -p $(@D)
	$(call say,CXX)
	$(Q)$(CXX) -isystem $(CUDNN_FOLDER)/../include -isystem $(CUDA_FOLDER)/include -std=c++17 -O1 -fPIC -Wall -Wextra $(if $(WERROR),-Werror) -shared $< -o $@ -ldl
$(BUILD)/deviceless/plans: $(BUILD)/f32/tests/cuda/libraries/plans.o $(BUILD)/shim/libediy_cuda.a $(BUILD)/libediy.a
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) -rdynamic $(LDFLAGS) $^ $(LDLIBS) -ldl -o $@
check-cudnn: ## without a GPU: the plans that cuDNN makes for ResNet-50 on an H100, by our calls (EDIY_CUDNN=its folder)
	@[ -e "$(CUDNN_FOLDER)/libcudnn.so.9" ] || { echo "check-cudnn: not run: there is no libcudnn.so.9; name its folder: make check-cudnn EDIY_CUDNN=..."; exit 0; }; \
	  $(MAKE) --no-print-directory $(BUILD)/deviceless/libcudnn.so.9 $(BUILD)/deviceless/plans && EDIY_REAL_CUDNN=$(CUDNN_FOLDER)/libcudnn.so.9 \
	  EDIY_CUDA_STUB=$(CUDA_FOLDER)/lib64/stubs/libcuda.so EDIY_DEVICE=tests/cuda/libraries/h100.json EDIY_CUDNN=$(BUILD)/deviceless $(BUILD)/deviceless/plans
# The programs with the shim's GPU, for tests of whole runs.
$(BUILD)/shim/ediy: $(EDIY_OBJECTS) $(BUILD)/f32/ref/train/backends_cuda.o $(BUILD)/shim/libediy_cuda.a $(BUILD)/libediy.a
	$(call say,LD)
	$(Q)$(CC) -rdynamic $(LDFLAGS) $^ $(LDLIBS) -ldl -o $@
$(BUILD)/shim/oracle: $(ORACLE_MAIN) $(BUILD)/f32/ref/train/backends_cuda.o $(BUILD)/liboracle.a $(BUILD)/shim/libediy_cuda.a $(BUILD)/libediy.a
	$(call say,LD)
	$(Q)$(CC) -rdynamic $(LDFLAGS) $^ $(LDLIBS) -ldl -o $@
$(BUILD)/tests/cuda/test_libraries $(BUILD)/tests/cuda/test_shim_libraries $(BUILD)/tests/cuda/test_shim_ranks $(BUILD)/tests/cuda/test_shim_mpi: | $(STANDINS)
$(BUILD)/tests/cuda/test_shim_program $(BUILD)/tests/cuda/test_shim_libraries $(BUILD)/tests/cuda/test_shim_gpu: | $(BUILD)/shim/ediy $(BUILD)/shim/oracle
# Without a GPU: what nvcc makes of the kernels, its PTX, run by tests/cuda/ptx behind nvcc's own host code, under the programs of check-cuda.
# PTX_ARCH: for which compute capability nvcc makes it. That of 9.0 is in the objects of `make cuda`, which are linked as they are.
PTX_ARCH ?= 90
PTX      := $(BUILD)/ptx$(PTX_ARCH)
PTX_CODE  = $(PTX_ARCH)
PTX_TWINS = $(if $(and $(filter 90,$(PTX_ARCH)),$(findstring compute_90],$(CUDA_ARCH))),$(BUILD)/cuda,$(PTX)/cuda)
PTX_NVCCFLAGS = $(filter-out $(CUDA_ARCH) -lineinfo,$(NVCCFLAGS)) -gencode arch=compute_$(PTX_CODE),code=compute_$(PTX_CODE)
$(patsubst %.cu,$(PTX)/%.o,$(WARPGROUP_SOURCES)): PTX_CODE = 90a
$(PTX)/cuda/%.o: cuda/%.cu
	@mkdir -p $(@D)
	$(call say,NVCC)
	$(Q)$(NVCC) $(CUDA_CPPFLAGS) $(PTX_NVCCFLAGS) -MMD -MP -c $< -o $@
$(PTX)/libediy_cuda.a: $(patsubst cuda/%.cu,$(PTX_TWINS)/%.o,$(CUDA_TWINS)) \
                             $(patsubst %,$(BUILD)/shim/tests/cuda/%.cpp.o,shim_runtime shim_streams shim_launch) \
                             $(patsubst %,$(BUILD)/shim/%.o,$(wildcard tests/cuda/ptx/*.cpp))
	@mkdir -p $(@D) && rm -f $@
	$(call say,AR)
	$(Q)$(AR) rcs $@ $^
# What GPUs were measured to sum to, beside what this machine gives (tests/cuda/ptx/measured.c).
$(PTX)/measured: $(BUILD)/f32/tests/cuda/ptx/measured.o $(BUILD)/shim/tests/cuda/ptx/tensor_core.cpp.o
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) $^ -lstdc++ -lm -o $@
PTX_TESTS := $(addprefix $(PTX)/tests/,cuda/ptx/test_ptx $(CUDA_TESTS))
# The machine's own test, with kernels of its own and those of the shim.
PTX_KERNELS := $(patsubst %,$(PTX)/tests/cuda/%.o,ptx/kernels faulty faulty_tensor faulty_warpgroup)
$(PTX_KERNELS): $(PTX)/%.o: %.cu
	@mkdir -p $(@D)
	$(call say,NVCC)
	$(Q)$(NVCC) $(CUDA_CPPFLAGS) $(PTX_NVCCFLAGS) -MMD -MP -c $< -o $@
$(PTX)/tests/cuda/ptx/test_ptx: $(PTX_KERNELS)
$(PTX)/tests/cuda/%: $(BUILD)/f32/tests/cuda/%.o $(PTX)/libediy_cuda.a $(BUILD)/libediy.a
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) -rdynamic $(LDFLAGS) $^ -lcmocka $(LDLIBS) -lstdc++ -ldl -o $@
$(PTX)/tests/cuda/test_libraries: | $(STANDINS)
$(PTX)/ediy: $(EDIY_OBJECTS)
$(PTX)/oracle: $(ORACLE_MAIN)
$(PTX)/ediy $(PTX)/oracle: $(BUILD)/f32/ref/train/backends_cuda.o $(BUILD)/liboracle.a $(PTX)/libediy_cuda.a $(BUILD)/libediy.a
	$(call say,LD)
	$(Q)$(CC) -rdynamic $(LDFLAGS) $(filter %.o,$^) $(filter %.a,$^) $(LDLIBS) -lstdc++ -ldl -o $@
# The example of docs/verify-your-kernel.md, right and reading a row too far, whose arrays are where the kernel runs.
EXAMPLES := examples/kernel examples/kernel_too_far
$(BUILD)/examples/kernel.cu: docs/examples/kernel.cu
	@mkdir -p $(@D)
	@cp $< $@
$(BUILD)/examples/kernel_too_far.cu: docs/examples/kernel.cu
	@mkdir -p $(@D)
	@sed 's/h >= g\.h/h > g.h/' $< >$@ && ! cmp -s $< $@
$(PTX)/examples/%.o: $(BUILD)/examples/%.cu oracle/ediy_oracle.h
	@mkdir -p $(@D)
	$(call say,NVCC)
	$(Q)$(NVCC) -Ioracle $(PTX_NVCCFLAGS) -c $< -o $@
$(PTX)/examples/%: $(PTX)/examples/%.o $(PTX)/libediy_cuda.a $(BUILD)/liboracle.a $(BUILD)/libediy.a
	$(call say,LD)
	$(Q)$(CC) -rdynamic $(LDFLAGS) $< $(BUILD)/liboracle.a $(PTX)/libediy_cuda.a $(BUILD)/libediy.a $(LDLIBS) -lstdc++ -ldl -o $@
SHIM_TESTS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/cuda/test_*.c))
TESTS += $(SHIM_TESTS)
tests: $(SHIM_TESTS)

$(BUILD)/cuda/%.o: cuda/%.cu
	@mkdir -p $(@D)
	$(call say,NVCC)
	$(Q)$(NVCC) $(CUDA_CPPFLAGS) $(NVCCFLAGS) -MMD -MP -c $< -o $@
$(BUILD)/cuda/libediy_cuda.a: $(patsubst cuda/%.cu,$(BUILD)/cuda/%.o,$(CUDA_TWINS))
	@rm -f $@
	$(call say,AR)
	$(Q)$(AR) rcs $@ $^
# The same for programs of the bundle, once: with what it calls of the reference, which is hidden in it.
$(BUILD)/cuda/libediy_cuda.so: $(BUILD)/cuda/libediy_cuda.a $(BUILD)/libediy.a
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) -shared -Wl,-soname,$(notdir $@),-z,defs -Wl,--whole-archive $< -Wl,--no-whole-archive $(BUILD)/libediy.a $(LDLIBS) $(CUDA_LDLIBS) -o $@
GPU_BACKEND := $(BUILD)/cuda/libediy_cuda.$(if $(BUNDLED),so,a)
GPU_TESTS := $(addprefix $(BUILD)/gpu/tests/,$(CUDA_TESTS))
GPU_PROGRAMS := $(BUILD)/gpu/ediy $(BUILD)/gpu/oracle
GPU_EXAMPLES := $(addprefix $(BUILD)/gpu/,$(EXAMPLES))
$(BUILD)/gpu/examples/%.o: $(BUILD)/examples/%.cu oracle/ediy_oracle.h
	@mkdir -p $(@D)
	$(call say,NVCC)
	$(Q)$(NVCC) -Ioracle $(NVCCFLAGS) -c $< -o $@
$(BUILD)/gpu/examples/%: $(BUILD)/gpu/examples/%.o $(BUILD)/liboracle.a $(BUILD)/libediy.a
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) $^ $(LDLIBS) $(CUDA_LDLIBS) -o $@
$(BUILD)/gpu/tests/cuda/%: $(BUILD)/f32/tests/cuda/%.o $(GPU_BACKEND) $(BUILD)/libediy.a
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) $^ -lcmocka $(LDLIBS) $(CUDA_LDLIBS) -o $@
# The programs as CUDA=1 links them, beside those of the last make all.
$(BUILD)/gpu/ediy: $(EDIY_OBJECTS)
$(BUILD)/gpu/oracle: $(ORACLE_MAIN)
$(GPU_PROGRAMS): $(BUILD)/f32/ref/train/backends_cuda.o $(BUILD)/liboracle.a $(GPU_BACKEND) $(BUILD)/libediy.a
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) $(filter %.o,$^) $(filter %.a %.so,$^) $(LDLIBS) $(CUDA_LDLIBS) -o $@

.PHONY: cuda check-ptx ptx-tests check-cuda bench-cuda cuda-bundle cuda-variants gpu-tests lint-cuda
lint: lint-cuda
lint-cuda:
	@for p in tests/cuda/variants/*.patch; do git apply --check $$p || { echo "lint: $$p no longer fits: make it again, or remove it when it is decided"; exit 1; }; done
	@! command -v clang-format >/dev/null || clang-format --dry-run --Werror $(CUDA_TWINS) $(wildcard docs/examples/*.cu $(foreach d,. ptx libraries,tests/cuda/$d/*.cu tests/cuda/$d/*.cpp))

ifeq ($(NVCC),)
$(if $(WITH_CUDA),$(error CUDA=1 needs nvcc (CUDA 13 or newer) on the path or in /usr/local/cuda))
cuda check-ptx check-cuda bench-cuda cuda-bundle cuda-variants:
	@echo "$@: skipped, there is no nvcc (CUDA 13 or newer) on the path or in /usr/local/cuda; everything else builds without it"
else
cuda: $(BUILD)/cuda/libediy_cuda.a $(BUILD)/cuda/values.o ## the CUDA backend for GPUs, as a library
# That the stand-ins of cuDNN and cuBLASLt use NVIDIA's values, where its headers are.
$(BUILD)/cuda/values.o: tests/cuda/libraries/values.cu
	@mkdir -p $(@D)
	$(call say,NVCC)
	$(Q)$(NVCC) $(CUDA_CPPFLAGS) $(NVCCFLAGS) -MMD -MP -c $< -o $@
# Operations with a watch over who touches what; whole steps and runs without, which are the same kernels in turn.
PTX_RUNS  := $(addprefix $(PTX)/tests/cuda/test_,flow train step features)
PTX_LONG  := $(addprefix $(PTX)/tests/cuda/test_,tensor_conv conv_norm norm) # begun first: two are run at a time
PTX_PARTS ?= oracle steps bits
PTX_CORE  := $(if $(filter 80,$(PTX_ARCH)),a100,h100)
check-ptx: export EDIY_PTX_CORE := $(PTX_CORE)
check-ptx: ## without a GPU: nvcc's code for the kernels, as PTX, run on the CPU by the tests of check-cuda (PTX_ARCH=80)
	@sh .ci/deps $(PACKAGES)
	@$(MAKE) --no-print-directory ptx-tests
	@BESIDE=yes BUILD=$(BUILD) sh tests/run.sh $(PTX_LONG) $(filter-out $(PTX_LONG) $(PTX_RUNS),$(PTX_TESTS))
	@BESIDE=yes EDIY_PTX_RACES=0 BUILD=$(BUILD) sh tests/run.sh $(PTX_RUNS)
	@EDIY_PTX_RACES=0 SMALL=1 BIN=$(PTX) SHIM=$(abspath $(BUILD))/shim/ediy RUNNER=$(abspath tests/run.sh) sh tests/cuda/gpu.sh $(PTX)/check $(PTX_PARTS)
ptx-tests: $(PTX_TESTS) $(PTX)/ediy $(PTX)/oracle $(addprefix $(PTX)/,$(EXAMPLES)) $(BUILD)/shim/ediy
gpu-tests: $(GPU_TESTS) $(GPU_PROGRAMS) $(GPU_EXAMPLES) $(BUILD)/shim/ediy $(PTX)/ediy
ON_GPU = BIN=$(BUILD)/gpu SHIM=$(abspath $(BUILD))/shim/ediy PTX=$(abspath $(PTX))/ediy RUNNER=$(abspath tests/run.sh) BENCH=$(abspath tests/cuda/bench.sh) COUNTERS=$(abspath tests/cuda/counters.sh) CHOICES=$(abspath tests/cuda/variants.sh) PEER="$(if $(filter file,$(origin PEER)),$(wildcard $(PEER)),$(PEER))" PYTHON="$(PYTHON)" \
         sh tests/cuda/gpu.sh
check-cuda: ## on a GPU: tests, oracle, whole steps, bits, 200 steps beside the CPU, compute-sanitizer
	@sh .ci/deps $(PACKAGES)
	@$(MAKE) --no-print-directory gpu-tests
	@$(ON_GPU) $(BUILD)/gpu/check tests oracle libraries wgmma steps bits train sanitizer
bench-cuda: ## on a GPU: a training step part by part in every class, convolutions, beside PyTorch (PEER)
	@sh .ci/deps $(PACKAGES)
	@$(MAKE) --no-print-directory gpu-tests
	@$(ON_GPU) $(BUILD)/gpu/bench bench; cat $(BUILD)/gpu/bench/bench.txt

# The same programs with the libraries they need, in one archive for a machine that has a GPU and its driver and nothing else:
# tar xzf bundle.tar.gz && bundle/run OUT. Where the C library there is too old, they run with the one they were built with.
BUNDLE := build-bundle/bundle
cuda-bundle: ## all of check-cuda and bench-cuda as an archive for a GPU machine without packages
	@sh .ci/deps $(PACKAGES)
	@$(MAKE) --no-print-directory BUILD=build-bundle ARCH=x86-64-v3 BUNDLED=1 gpu-tests
	@rm -rf $(BUNDLE) && mkdir -p $(BUNDLE)/tests/cuda $(BUNDLE)/examples $(BUNDLE)/shim $(BUNDLE)/ptx $(BUNDLE)/lib $(BUNDLE)/libc
	@cp $(addprefix build-bundle/gpu/tests/,$(CUDA_TESTS)) $(BUNDLE)/tests/cuda && cp build-bundle/gpu/ediy build-bundle/gpu/oracle $(BUNDLE) && \
	  cp $(addprefix build-bundle/gpu/,$(EXAMPLES)) $(BUNDLE)/examples && \
	  cp build-bundle/shim/ediy $(BUNDLE)/shim && cp $(subst $(BUILD),build-bundle,$(PTX))/ediy $(BUNDLE)/ptx && cp build-bundle/cuda/libediy_cuda.so $(BUNDLE)/lib && \
	  strip $(BUNDLE)/lib/libediy_cuda.so $(BUNDLE)/ediy $(BUNDLE)/oracle $(BUNDLE)/shim/ediy $(BUNDLE)/ptx/ediy $(BUNDLE)/examples/* $(BUNDLE)/tests/cuda/*
	@cp tests/run.sh $(addprefix tests/cuda/,gpu.sh parts.sh bench.sh counters.sh variants.sh within.sh) $(BUNDLE) && cp tests/cuda/bundle.sh $(BUNDLE)/run && chmod +x $(BUNDLE)/run
	@ldd $(BUNDLE)/ediy $(BUNDLE)/examples/* $(BUNDLE)/tests/cuda/* $(BUNDLE)/lib/libediy_cuda.so | awk '$$2 == "=>" && $$3 ~ "/" {print $$3} $$1 ~ "/ld-linux" {print $$1}' | sort -u | while read -r l; do \
	  case $${l##*/} in libediy_cuda.so) ;; ld-linux*|libc.*|libm.*) cp -L $$l $(BUNDLE)/libc ;; *) cp -L $$l $(BUNDLE)/lib ;; esac; done
	@for l in dl rt pthread; do cp -L $$(dirname $$(ldd $(BUNDLE)/ediy | awk '$$1 ~ /^libc\./ {print $$3}'))/lib$$l.so.? $(BUNDLE)/libc; done # the driver's
	@tar czf $(BUNDLE).tar.gz -C build-bundle bundle && du -h $(BUNDLE).tar.gz

# Programs of the bundle with another choice in products or norms, each a patch of tests/cuda/variants, to be timed by variants.sh. Only what a
# choice reaches in bf16 is compiled again, for compute capability 9.0 alone. xz, with a window that finds again what all of them have in common.
VARIANTS := $(patsubst tests/cuda/variants/%.patch,%,$(wildcard tests/cuda/variants/*.patch))
cuda-variants: cuda-bundle ## programs with other choices in products and norms, to be timed beside those of the bundle (tests/cuda/variants)
	@sh .ci/deps patch xz-utils
	@$(MAKE) --no-print-directory BUILD=build-bundle ARCH=x86-64-v3 BUNDLED=1 $(VARIANTS:%=build-bundle/variants/%/lib/libediy_cuda.so)
	@rm -rf $(BUNDLE)/variants
	@for v in $(VARIANTS); do d=$(BUNDLE)/variants/$$v; mkdir -p $$d/lib && cp $(BUNDLE)/ediy $$d && cp build-bundle/variants/$$v/lib/libediy_cuda.so $$d/lib && strip $$d/lib/libediy_cuda.so && \
	  sed '/^--- /,$$d' tests/cuda/variants/$$v.patch >$$d/why.txt && \
	  ldd $$d/ediy | grep -q "variants/$$v/.*libediy_cuda.so" || { echo "cuda-variants: $$v would not be run with its own library"; exit 1; }; done
	@tar cf - -C build-bundle bundle/variants | xz -T0 --lzma2=preset=6,dict=128MiB >build-bundle/variants.tar.xz && du -h build-bundle/variants.tar.xz
# What is made on the way is kept, for the next time. Compiled again is what includes a file that the patch changes.
.PRECIOUS: build-bundle/variants/%/patched build-bundle/variants/%/compiled
build-bundle/variants/%/patched: tests/cuda/variants/%.patch $(wildcard cuda/*)
	@rm -rf $(@D) && mkdir -p $(@D)/lib && cp -r cuda $(@D) && patch -s -p1 -d $(@D) <$< && touch $@
build-bundle/variants/%/compiled: build-bundle/variants/%/patched build-bundle/cuda/libediy_cuda.a
	@for f in conv:90 norm:90 tensor_bf16:90 tensor_wgmma:90a; do o=$${f%:*}.o; \
	  sed -n 's|^+++ b/||p' tests/cuda/variants/$*.patch | grep -qFf - build-bundle/cuda/$${o%o}d || continue; printf '  NVCC %s\n' $(@D)/$$o; \
	  $(NVCC) -I$(@D) $(CUDA_CPPFLAGS) $(filter-out $(CUDA_ARCH),$(NVCCFLAGS)) -gencode arch=compute_$${f#*:},code=sm_$${f#*:} -c $(@D)/cuda/$${o%o}cu -o $(@D)/$$o || exit 1; done
	@touch $@
build-bundle/variants/%/lib/libediy_cuda.so: build-bundle/variants/%/compiled
	@cp build-bundle/cuda/libediy_cuda.a build-bundle/variants/$*/libediy_cuda.a && $(AR) r build-bundle/variants/$*/libediy_cuda.a build-bundle/variants/$*/*.o
	$(call say,LD)
	$(Q)$(CC) $(LDFLAGS) -shared -Wl,-soname,$(notdir $@),-z,defs -Wl,--whole-archive build-bundle/variants/$*/libediy_cuda.a -Wl,--no-whole-archive $(BUILD)/libediy.a $(LDLIBS) $(CUDA_LDLIBS) -o $@
endif

clean: ## remove what was built
	rm -rf $(BUILD) build-*

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
