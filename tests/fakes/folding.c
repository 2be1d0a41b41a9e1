/* Stands for a file system that folds case: names below refs/heads/ reach the C library in lower case.
 *
 * Loaded into git by LD_PRELOAD where the kernel of the machine has no such file system. */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *fold(const char *path, char *into)
{
	const char *refs = path ? strstr(path, "refs/heads/") : NULL;
	if (!refs || strlen(path) > 4000)
		return path;
	strcpy(into, path);
	for (char *at = into + (refs - path); *at; at++)
		*at = (char)tolower((unsigned char)*at);
	return into;
}

#define REAL(name) __typeof__(name) *real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define ONE(type, name, more, given) \
	type name(const char *path more) { char into[4096]; REAL(name); return real(fold(path, into) given); }
#define COMMA ,

#define OPEN(name) \
	int name(const char *path, int flags, ...) \
	{ \
		char into[4096]; \
		va_list rest; \
		va_start(rest, flags); \
		int mode = va_arg(rest, int); \
		va_end(rest); \
		REAL(name); \
		return real(fold(path, into), flags, mode); \
	}
#define TWO(name) \
	int name(const char *from, const char *to) \
	{ char one[4096], two[4096]; REAL(name); return real(fold(from, one), fold(to, two)); }

OPEN(open)
OPEN(open64)
ONE(FILE *, fopen, COMMA const char *mode, COMMA mode)
ONE(FILE *, fopen64, COMMA const char *mode, COMMA mode)
ONE(int, stat, COMMA struct stat *found, COMMA found)
ONE(int, lstat, COMMA struct stat *found, COMMA found)
ONE(int, stat64, COMMA struct stat64 *found, COMMA found)
ONE(int, lstat64, COMMA struct stat64 *found, COMMA found)
ONE(int, access, COMMA int mode, COMMA mode)
ONE(int, mkdir, COMMA mode_t mode, COMMA mode)
ONE(int, chmod, COMMA mode_t mode, COMMA mode)
ONE(ssize_t, readlink, COMMA char *target COMMA size_t size, COMMA target COMMA size)
ONE(int, unlink, , )
ONE(int, rmdir, , )
ONE(DIR *, opendir, , )
TWO(rename)
TWO(link)
