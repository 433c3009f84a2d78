# ediy: E-DIY in C.  `make help` lists what can be made.
#
# Rooms and their order are in docs/architecture.md. Sources of TWICE are compiled for float and for double (ref/base/real.h);
# everything else once.

BUILD    ?= build
CC       ?= gcc
ARCH     ?= native
OPT      ?= -O3
PREFIX   ?= /usr/local
PKGS     := openblas libpng libjpeg jansson cairo
PACKAGES := gcc pkg-config libopenblas-openmp-dev libpng-dev libjpeg62-turbo-dev libjansson-dev libcairo2-dev fonts-dejavu-core libcmocka-dev

WARN     := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wcast-qual -Wwrite-strings \
            -Wvla -Wundef -Wformat=2 -Wno-format-nonliteral -Werror
# -ffp-contract=off: a * b + c rounds twice, as written; the compiler adds no fused operation to a plain loop.
CFLAGS   += -std=c17 $(OPT) -g -march=$(ARCH) -fopenmp -fPIC -fvisibility=hidden -ffp-contract=off -fno-math-errno -fno-trapping-math \
            $(WARN) $(EXTRA_CFLAGS)
CPPFLAGS += -D_POSIX_C_SOURCE=200809L -Iref -I. -Itests $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
LDLIBS   += $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lpthread -lm
LDFLAGS  += -fopenmp $(EXTRA_LDFLAGS)

# ---- sources -------------------------------------------------------------------------------------------------------------------------
TWICE := ref/base/blas.c $(wildcard ref/op/*.c ref/model/*.c ref/eval/*.c) \
         $(wildcard ref/image/augment*.c ref/image/resize.c ref/image/colour.c ref/image/blur.c)
ONCE  := $(filter-out $(TWICE),$(wildcard ref/base/*.c ref/image/*.c ref/train/*.c ref/api/*.c))
ORACLE_TWICE := $(wildcard oracle/twice/*.c)
ORACLE_ONCE  := $(filter-out oracle/main.c,$(wildcard oracle/*.c))
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

.PHONY: all help deps demo check tests lint clean
.DELETE_ON_ERROR:
.SECONDARY:

all: $(if $(EDIY_MAIN),$(BUILD)/ediy) $(if $(wildcard oracle/main.c),$(BUILD)/oracle) ## build the programs

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

deps: ## install the Debian packages that are missing
	@sh .ci/deps $(PACKAGES)

$(BUILD)/f32/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -DEDIY_REAL_BITS=32 $(CFLAGS) -MMD -MP -c $< -o $@
$(BUILD)/f64/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -DEDIY_REAL_BITS=64 $(CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/libediy.a: $(LIB_OBJECTS)
	@rm -f $@
	$(AR) rcs $@ $^
$(BUILD)/liboracle.a: $(ORACLE_OBJECTS)
	@rm -f $@
	$(AR) rcs $@ $^
$(BUILD)/ediy: $(call O32,$(EDIY_MAIN)) $(BUILD)/libediy.a
	$(CC) $(LDFLAGS) $^ $(LDLIBS) -o $@
$(BUILD)/oracle: $(BUILD)/f32/oracle/main.o $(BUILD)/liboracle.a $(BUILD)/libediy.a
	$(CC) $(LDFLAGS) $^ $(LDLIBS) -o $@

# ---- tests ---------------------------------------------------------------------------------------------------------------------------
TEST_LIBS = $(call O32,$(TEST_SUPPORT)) $(BUILD)/liboracle.a $(BUILD)/libediy.a
$(BUILD)/tests/%_f32: $(BUILD)/f32/tests/%.o $(TEST_LIBS)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) $^ -lcmocka $(LDLIBS) -o $@
$(BUILD)/tests/%_f64: $(BUILD)/f64/tests/%.o $(TEST_LIBS)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) $^ -lcmocka $(LDLIBS) -o $@
$(BUILD)/tests/%: $(BUILD)/f32/tests/%.o $(TEST_LIBS)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) $^ -lcmocka $(LDLIBS) -o $@

tests: $(TESTS)

check: deps ## install what is missing, build, run every test
	@$(MAKE) --no-print-directory all tests
	@BUILD=$(BUILD) sh tests/run.sh $(TESTS)

clean: ## remove what was built
	rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
