"""Unmanaged models: the benchmark creates the tables."""

from __future__ import annotations

from django.db import models


class Group(models.Model):
    id = models.CharField(primary_key=True, max_length=36)
    name = models.CharField(max_length=100, unique=True)
    description = models.CharField(max_length=500, null=True)
    active = models.BooleanField(default=True)

    class Meta:
        managed = False
        db_table = "groups"


class User(models.Model):
    id = models.CharField(primary_key=True, max_length=36)
    first_name = models.CharField(max_length=100)
    last_name = models.CharField(max_length=100, null=True)
    age = models.IntegerField()
    email = models.CharField(max_length=254, null=True, unique=True)
    external_id = models.CharField(max_length=255, null=True, unique=True)
    active = models.BooleanField(default=True)
    created_at = models.CharField(max_length=27)
    updated_at = models.CharField(max_length=27)
    version = models.IntegerField(default=1)
    groups = models.ManyToManyField(Group, through="Membership", related_name="members")

    class Meta:
        managed = False
        db_table = "users"


class Membership(models.Model):
    pk = models.CompositePrimaryKey("user_id", "group_id")
    user = models.ForeignKey(User, models.CASCADE, db_index=False)
    group = models.ForeignKey(Group, models.CASCADE, db_index=False)
    role = models.CharField(max_length=20)
    created_at = models.CharField(max_length=27)

    class Meta:
        managed = False
        db_table = "memberships"


class World(models.Model):
    random_number = models.IntegerField()

    class Meta:
        managed = False
        db_table = "world"


class Fortune(models.Model):
    message = models.CharField(max_length=500)

    class Meta:
        managed = False
        db_table = "fortune"
